"""Musical objectives as metrics: all that are built in, and those of a run's own code.

They are measured of the very melodies that a reward would see. A melody of which an objective is undefined earns
nothing by it in training; here it is left out of the mean, and the share of such melodies is a metric of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seqgan_music import registry
from seqgan_music.errors import UsageError
from seqgan_music.metrics import METRICS, TOKEN_METRICS, Metric
from seqgan_music.objectives import OBJECTIVES, terms
from seqgan_music.rewards import lambdas
from seqgan_music.tokenizers import is_musical

if TYPE_CHECKING:
    from seqgan_music.notes import Melodies
    from seqgan_music.objectives import Objective
    from seqgan_music.run import Run

OBJECTIVE, UNDEFINED = "objective_", "undefined_"
"""What the names of these metrics begin with; the objective's name follows."""
USUAL = ("tonality", "melodicity", "ratio_of_steps", "key_clarity")
"""Looked at first where a run has none: ORGAN's three, and the one that means tonal."""
STEERED = "steered towards"
ROWS_AT_ONCE = 1 << 11


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of an objective whose code may not be loaded, where its values were kept."""

    title: str
    description: str

    def __call__(self, melodies: Melodies) -> torch.Tensor:
        """Nothing: it can be read of, not measured."""
        raise UsageError(f"the objective {self.title} is code that may not be loaded; if you trust it, say --own-code")


@dataclass(frozen=True, eq=False)
class Objectives:
    """Objectives that are measured, and what runs want of them.

    Parameters
    ----------
    measured : dict of str to Objective
        By name; `Told` where the values were kept and the code may not be loaded.
    first : tuple of str
        Names of those that are looked at first.
    wishes : dict of str to list of str
        Objectives that the reward of a run steers towards, and what is wanted of each, in words.
    left_out : tuple of str
        Texts of objectives that are code which the runs may not load.
    musical : bool
        Whether there is music to measure; sequences that are none have no objectives.
    """

    measured: dict[str, Objective | Told]
    first: tuple[str, ...]
    wishes: dict[str, list[str]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    musical: bool = True

    @classmethod
    def none(cls) -> Objectives:
        """None, for sequences that are no music."""
        return cls({}, (), musical=False)

    @classmethod
    def built_in(cls) -> Objectives:
        """All that the program has, none of them wanted."""
        measured: dict[str, Objective | Told] = {
            name: registry.resolve(OBJECTIVES, "objective", name)() for name in OBJECTIVES
        }
        return cls(measured, tuple(name for name in USUAL if name in measured))

    @classmethod
    def of(cls, *runs: Run, told: Mapping[str, Told] | None = None) -> Objectives:
        """Those that are built in and those of the runs' settings, which are looked at first where there are any.

        Parameters
        ----------
        runs : Run
        told : mapping of str to Told, optional
            By name: stand for code that the runs may not load.

        Raises
        ------
        UsageError, Failure
            Code of a run's own that is gone or cannot be used.
        """
        if runs and not any(is_musical(run.tokenizer) for run in runs):
            return cls.none()
        known = cls.built_in()
        measured, first, wishes = dict(known.measured), dict[str, None](), dict[str, list[str]]()
        left_out = dict[str, None]()
        for run in runs:
            towards = set(steered(run.settings))
            for text in run.settings["objectives"]:
                name, wanted = terms.name_and_wish(text)
                if ":" not in text or run.own_code:
                    measured.setdefault(name, terms.read(text, own_code=run.own_code).objective)
                elif told and name in told:
                    measured.setdefault(name, told[name])
                else:
                    left_out[text] = None
                    continue
                first[name] = None
                wish = str(wanted) if wanted else "more of it"
                if text in towards and wish not in wishes.setdefault(name, []):
                    wishes[name].append(wish)
        wishes = {name: wanted for name, wanted in wishes.items() if wanted}
        return cls(measured, tuple(first) or known.first, wishes, tuple(left_out))

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """`seqgan_music.metrics.METRICS` and, of every objective, its value and the share of undefined ones; of what is
        no music, `TOKEN_METRICS`."""
        found = dict(METRICS if self.musical else TOKEN_METRICS)
        for name, objective in self.measured.items():
            wanted = self.wishes.get(name)
            target = f"{STEERED}: {'; '.join(wanted)}" if wanted else "equal to real"
            title = objective.title
            if sum(title == other.title for other in self.measured.values()) > 1 and name not in OBJECTIVES:
                title = f"{title} ({name})"
            found[OBJECTIVE + name] = Metric(title, objective.description, target)
            meaning = f"share of the samples of which the objective {title} is undefined; they are left out of its mean"
            found[UNDEFINED + name] = Metric(f"{title}, undefined", meaning, "equal to real")
        return found

    @property
    def columns(self) -> list[str]:
        """Metrics that are looked at first."""
        return [OBJECTIVE + name for name in self.first]

    def measure(self, melodies: Melodies) -> dict[str, np.ndarray]:
        """Values (M,) of every melody by metric, NaN where undefined."""
        blocks = [
            melodies[slice(start, start + ROWS_AT_ONCE)] for start in range(0, max(len(melodies), 1), ROWS_AT_ONCE)
        ]
        with torch.no_grad():
            return {
                OBJECTIVE + name: torch.cat([objective(block) for block in blocks]).double().cpu().numpy()
                for name, objective in self.measured.items()
            }

    def code(self) -> dict[str, str]:
        """Name and source of every objective that is not built in: what its values depend on."""
        return {name: _source(name) for name in self.measured if name not in OBJECTIVES}

    @property
    def withheld(self) -> list[str]:
        """Names of what is left out."""
        return [terms.name_and_wish(text)[0] for text in self.left_out]


def steered(settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Texts of the objectives, see `seqgan_music.objectives.terms`, that a run's reward pays for at some time.

    Examples
    --------
    >>> reward = {"lambda": 0.5, "lambda_schedule": [], "programme": []}
    >>> settings = {"algorithm": {"name": "seqgan"}, "reward": reward, "objectives": {"tonality": 1.0, "cadence": 0.0}}
    >>> steered(settings)
    ['tonality']
    >>> steered(settings | {"reward": reward | {"lambda": 1.0}})
    []
    """
    reward = settings["reward"]
    if min(lambdas(reward)) == 1 or settings["algorithm"]["name"] == "mle":  # older runs of which name a reward
        return []
    staged = {text for _, stage in reward["programme"] for text in stage} or settings["objectives"]
    return [text for text, weight in settings["objectives"].items() if weight > 0 and text in staged]


def undefined(name: str) -> str:
    """The metric that says how often another is undefined.

    Examples
    --------
    >>> undefined("objective_tonality")
    'undefined_tonality'
    """
    return UNDEFINED + name.removeprefix(OBJECTIVE)


def unchanged(name: str, source: str) -> bool:
    """Whether code of one's own has a source still, as far as that is seen without loading it: a file that is there."""
    place = name.rpartition(":")[0]
    if not place.endswith(".py"):
        return True
    try:
        return Path(place).read_text(encoding="utf-8") == source
    except FileNotFoundError:
        return True


def _source(name: str) -> str:
    """Of a file or module of one's own that has been loaded."""
    place = name.rpartition(":")[0]
    path = place if place.endswith(".py") else importlib.import_module(place).__file__
    return Path(path).read_text(encoding="utf-8") if path else ""
