"""How long a training will take, and a schedule that fits a given time.

A small part of every phase is run on copies of everything, clocked, and scaled to its full size by the algorithm's own
`SCHEDULE`. The training itself neither reads a clock nor notices.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import platform
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from seqgan_music import building, config, dataset, jit, precision, registry
from seqgan_music.algorithms import ALGORITHMS
from seqgan_music.cache import Cache, digest
from seqgan_music.errors import UsageError
from seqgan_music.evaluation import ANCHORS, closeness
from seqgan_music.modes import each_within
from seqgan_music.rewards import lambdas
from seqgan_music.versions import versions

if TYPE_CHECKING:
    from seqgan_music.algorithms.record import Phase
    from seqgan_music.dataset import Dataset, Windows
    from seqgan_music.tokenizers import Tokenizer

NAMES = {
    "random": "random generators",
    "mle": "likelihood epochs",
    "discriminator": "discriminator sets",
    "adversarial": "rounds",
}
STAGES_OF_ROUNDS = 3  # mle, adversarial and best are evaluated, in place of one
LIKELIHOOD_ROWS = 512  # training windows of the epoch that is clocked
OTHER_ROWS = 64  # of the epochs that have to come before another phase
PART_OF_A_SIZE = 4
LEAST_SIZE, LARGEST_SIZE = 2, 512
EVALUATION_SAMPLES = 1000
FEWEST_SAMPLES = 256  # fewer take hardly less time
PATIENCE = 30.0  # seconds of clocking without a result, after which there is none


class TooSlow(Exception):
    """Clocking a training takes longer than anyone would wait for it."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a training costs, in seconds.

    Parameters
    ----------
    records : dict of str to float
        One record of each phase.
    finish : float
        Samples and figures at the end.
    """

    records: dict[str, float]
    finish: float = 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a training will take at most: pre-training may stop early.

    Parameters
    ----------
    costs : Costs
    counts : dict of str to int
        Records of each phase.
    """

    costs: Costs
    counts: dict[str, int]

    @property
    def seconds(self) -> float:
        """Of everything."""
        return self.costs.finish + sum(self.costs.records[phase] * count for phase, count in self.counts.items())

    def __str__(self) -> str:
        """Such as "about 11 minutes: at most 12 likelihood epochs 2:10, 20 rounds 8:40, figures 0:05"."""
        times = [
            f"{'at most ' if phase == 'mle' else ''}{count} {_named(phase, count)} "
            f"{duration(count * self.costs.records[phase])}"
            for phase, count in self.counts.items()
        ]
        return f"about {_in_words(self.seconds)}: {', '.join(times)}, figures {duration(self.costs.finish)}"


class Timer:
    """Clocks a training before it begins and, if a time is given, fits the schedule to it.

    The `adjust` of `Experiment.create`. All phases are shortened in the same proportion, to one record each at the
    least, see `fit`. They are never lengthened: a preset's schedule is what was tried, and more rounds have not brought
    samples nearer to real music (docs/results.md).

    Parameters
    ----------
    minutes : float, optional
        For everything from the first epoch to the last figure; without it nothing is changed.
    fixed : collection of str
        Options of ``[algorithm]`` that stay as they are.
    own_code : bool
        Whether components outside the package may be loaded.
    evaluate : bool
        Whether figures will be taken at the end.
    cache : Cache, optional
        Where the costs of an equal training on this machine are found again. With `minutes` they are clocked anew: a
        schedule is not fitted to how busy the machine was another time.
    begins : callable, optional
        Called before anything is clocked, for a person who waits.

    Attributes
    ----------
    estimate : Estimate or None
        Of the schedule that was chosen; None before a call, and where the algorithm has no `SCHEDULE`.
    full : Estimate or None
        Of the schedule that was asked for.
    spent : float
        Seconds the clocking took.

    Raises
    ------
    UsageError
        A time that is not above 0.
    """

    def __init__(
        self,
        minutes: float | None = None,
        *,
        fixed: Collection[str] = (),
        own_code: bool = True,
        evaluate: bool = True,
        cache: Cache | None = None,
        begins: Callable[[], object] | None = None,
    ) -> None:
        if minutes is not None and not 0 < minutes < float("inf"):
            raise UsageError(f"minutes must be above 0, not {minutes!r}")
        self.minutes, self.fixed, self.own_code, self.evaluate = minutes, frozenset(fixed), own_code, evaluate
        self.cache = None if minutes is not None else cache
        self.begins = begins
        self.estimate: Estimate | None = None
        self.full: Estimate | None = None
        self.spent = 0.0
        self._stay: list[str] = []  # counts that are fixed
        self._too_slow = False

    def __call__(self, settings: config.Config, tokenizer: Tokenizer, data: Dataset) -> config.Config:
        """The settings with the schedule that fits.

        Raises
        ------
        UsageError
            A time is given, but the algorithm does not say what its time depends on.
        """
        phases = schedule_of(settings, own_code=self.own_code)
        if phases is None:
            if self.minutes is not None:
                name = settings["algorithm"]["name"]
                raise UsageError(f"algorithm {name!r} has no SCHEDULE, so its time is not known; leave out --minutes")
            return settings
        began = time.perf_counter()
        try:
            costs = self._costs(settings, tokenizer, data, phases)
        except TooSlow:
            self._too_slow = True
            return settings
        self.spent = time.perf_counter() - began
        counts = {phase: int(settings["algorithm"].get(entry.records, 1)) for phase, entry in phases.items()}
        self.full = self.estimate = Estimate(costs, counts)
        if self.minutes is None:
            return settings
        counted = {phase: entry.records for phase, entry in phases.items() if entry.records}
        fixed = {phase: option for phase, option in counted.items() if option in self.fixed}
        self._stay = [f"algorithm.{option}" for option in fixed.values()]
        chosen = fit(costs, counts, 60 * self.minutes - self.spent, fixed)
        self.estimate = Estimate(costs, chosen)
        return config.merge(settings, {"algorithm": {option: chosen[phase] for phase, option in counted.items()}})

    def _costs(
        self, settings: config.Config, tokenizer: Tokenizer, data: Dataset, phases: Mapping[str, Phase]
    ) -> Costs:
        depends = {
            "settings": {section: options for section, options in settings.items() if section != "reading"},
            "data": [data.vocab_size, *(len(getattr(data, part)) for part in dataset.PARTS)],
            "machine": [
                platform.node(),
                str(building.choose_device(settings["run"]["device"])),
                torch.get_num_threads(),
                jit.available(),
            ],
            "evaluate": self.evaluate,
            "versions": versions(),
        }
        key = digest("costs", json.dumps(depends, sort_keys=True, default=str))
        if self.cache and (known := self.cache.get(key)):
            return Costs(**json.loads(known))
        if self.begins:
            self.begins()
        patience = PATIENCE if self.minutes is None else math.inf  # a schedule cannot be fitted without
        costs = measure(
            settings, tokenizer, data, phases, own_code=self.own_code, evaluate=self.evaluate, patience=patience
        )
        if self.cache:
            self.cache.put({key: json.dumps(dataclasses.asdict(costs)).encode()})
        return costs

    def remarks(self) -> list[str]:
        """What a person should know about the schedule that was chosen, a sentence each."""
        if self._too_slow:
            return [f"no estimate of the time: on this machine, as busy as it is, that would take over {PATIENCE:g} s"]
        if self.minutes is None or self.estimate is None or self.full is None:
            return []
        given, need = f"{self.minutes:g} minute{'s' if self.minutes != 1 else ''}", self.estimate.seconds + self.spent
        remarks = []
        if self._stay:
            remarks.append(f"{', '.join(self._stay)} as set, not fitted to {given}")
        if need > 60 * self.minutes:
            remarks.append(f"{given} will not do: this is the shortest schedule there is")
        elif self.estimate.counts == self.full.counts:
            remarks.append(f"the whole schedule fits into {given}, and is not made longer")
        return remarks


def schedule_of(settings: config.Config, *, own_code: bool = False) -> Mapping[str, Phase] | None:
    """`SCHEDULE` of the algorithm that settings name, if it has one."""
    factory = registry.resolve(ALGORITHMS, "algorithm", settings["algorithm"]["name"], own_code=own_code)
    found: Mapping[str, Phase] | None = getattr(factory, "SCHEDULE", None)
    return found


def fit(costs: Costs, counts: Mapping[str, int], seconds: float, fixed: Collection[str] = ()) -> dict[str, int]:
    """The longest schedule that takes at most some seconds, in the proportions of a given one.

    Time that is left because records are whole, or cost next to nothing in some phase, goes to the earlier phases.

    Parameters
    ----------
    costs : Costs
    counts : mapping of str to int
        Records of each phase, the most there will be; 0 stays 0.
    seconds : float
        For everything. Where they are too few, every phase that is not fixed has one record.
    fixed : collection of str
        Phases that keep their count.
    """

    def shortened(share: float) -> dict[str, int]:
        return {
            phase: count if phase in fixed else min(count, max(1, round(share * count)))
            for phase, count in counts.items()
        }

    if Estimate(costs, shortened(1.0)).seconds <= seconds:
        return shortened(1.0)
    low, high = 0.0, 1.0  # the longest share that fits lies in [low, high); what it costs grows with it
    for _ in range(50):
        middle = (low + high) / 2
        if Estimate(costs, shortened(middle)).seconds <= seconds:
            low = middle
        else:
            high = middle
    found = shortened(low)
    for phase, count in counts.items():
        left = seconds - Estimate(costs, found).seconds
        if phase not in fixed and left > 0:
            found[phase] = min(count, found[phase] + int(left / max(costs.records[phase], 1e-9)))
    return found


def measure(
    settings: config.Config,
    tokenizer: Tokenizer,
    data: Dataset,
    phases: Mapping[str, Phase],
    *,
    own_code: bool = False,
    evaluate: bool = True,
    patience: float = math.inf,
) -> Costs:
    """Clock a small part of every phase on copies.

    Parameters
    ----------
    settings : Config
        Resolved.
    tokenizer : Tokenizer
    data : Dataset
    phases : mapping of str to Phase
    own_code : bool
        Whether components outside the package may be loaded.
    evaluate : bool
        Whether figures will be taken at the end.
    patience : float
        Seconds.

    Raises
    ------
    TooSlow
        It has taken longer than `patience`.
    """
    give_up = time.perf_counter() + patience
    options, windows = settings["algorithm"], len(data.train)
    steps = {option: size for entry in phases.values() for option, size in entry.steps.items()}
    sizes = {size for size in (*(entry.size for entry in phases.values()), *steps.values()) if size}
    full = {size: options[size] or windows for size in sizes}
    small = {size: min(n, max(LEAST_SIZE, min(LARGEST_SIZE, n // PART_OF_A_SIZE))) for size, n in full.items()}
    reduced: dict[str, Any] = small | dict.fromkeys(steps, 0)
    for entry in phases.values():
        reduced |= {**({entry.records: 1} if entry.records else {}), **entry.clocked_with}

    def clock(part: Dataset, **step: int) -> dict[str, float]:
        """Seconds of one small record of each phase."""
        changed = config.merge(settings, {"algorithm": {**reduced, **step}, "reward": _dearest_reward(settings)})
        parts, algorithm = building.build(changed, tokenizer, part, own_code=own_code)
        seconds = {}
        began = time.perf_counter()
        in_force = functools.partial(precision.in_force, settings["run"]["precision"], parts.rng.device)
        for record in each_within(in_force, algorithm):
            _wait_for(parts.rng.device)
            now = time.perf_counter()
            if now > give_up:
                raise TooSlow
            seconds[record.phase], began = now - began, now
        return seconds

    share = min(1.0, LIKELIHOOD_ROWS / windows)
    few, fewest = _cut(data, OTHER_ROWS, len(data.validation)), _cut(data, OTHER_ROWS, OTHER_ROWS)
    # The first time, everything is slow: kernels are compiled, libraries choose theirs.
    clock(fewest, **{option: 1 for option in steps if options[option]})
    proportional = clock(_cut(data, LIKELIHOOD_ROWS, max(1, round(share * len(data.validation)))))
    base = clock(few) if set(phases) != {phase for phase, entry in phases.items() if entry.size == ""} else {}
    without_steps = clock(fewest) if any(options[option] for option in steps) else {}
    records = {}
    for phase, entry in phases.items():
        if entry.size == "":
            records[phase] = proportional[phase] / share
            continue
        records[phase] = base[phase] * (full[entry.size] / small[entry.size] if entry.size else 1.0)
        for option, size in entry.steps.items():
            if options[option]:
                step = max(0.0, clock(fewest, **{option: 1})[phase] - without_steps[phase])
                records[phase] += options[option] * step * (full[size] / small[size] if size else 1.0)
    parts, _ = building.build(settings, tokenizer, data, own_code=own_code)
    close = closeness(data, tokenizer, settings["run"]["seed"])
    began = time.perf_counter()
    close.of_generator(parts.generator, parts.dataset, settings["run"]["seed"])
    figures = time.perf_counter() - began
    stages = 1
    if "adversarial" in records:
        records["adversarial"] += figures
        stages = STAGES_OF_ROUNDS
    sets = (stages + len(ANCHORS)) if evaluate else 0
    return Costs(records, sets * figures * EVALUATION_SAMPLES / max(FEWEST_SAMPLES, close.size))


def _dearest_reward(settings: config.Config) -> dict[str, Any]:
    """A reward as in the dearest round there will be, whenever that is: whatever ever has a share has one."""
    ever = lambdas(settings["reward"])
    mixed = max(ever) > 0 and min(ever) < 1
    return {"lambda": 0.5 if mixed else ever[0], "lambda_schedule": [], "programme": []}


def _cut(data: Dataset, train: int, validation: int) -> Dataset:
    """The first rows of two parts."""

    def first(part: Windows, n: int) -> Windows:
        return dataset.Windows(part.ids[:n], part.start[:n], part.piece[:n])

    return dataclasses.replace(data, train=first(data.train, train), validation=first(data.validation, validation))


def _wait_for(device: torch.device) -> None:
    """A GPU works on after it was told what to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def duration(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any.

    Examples
    --------
    >>> duration(130.4), duration(7384)
    ('2:10', '2:03:04')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _named(phase: str, count: int) -> str:
    name = NAMES.get(phase, phase)
    return name.removesuffix("s") if count == 1 else name


def _in_words(seconds: float) -> str:
    if seconds < 90:
        whole = max(1, round(seconds))
        return f"{whole} second{'s' if whole != 1 else ''}"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"
