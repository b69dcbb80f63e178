"""The settings of a run: which there are, what they are unless given, and what is refused.

Settings are sections of options. Each section belongs to one component, whose constructor's keyword-only arguments are
the options it takes; ``name`` says which component of a table it is.

==================  ===============================================================
``[run]``           ``seed``, ``device`` (auto, cpu, cuda, mps)
``[reading]``       how files are read; see `seqgan_music.midi.Reading`
``[data]``          ``length`` (T), ``fractions`` and ``split_seed`` of the split by tune, ``transpose`` (a mode of
                    `seqgan_music.transposition`)
``[tokenizer]``     a name of `seqgan_music.tokenizers.TOKENIZERS` and its options
``[generator]``     likewise
``[discriminator]`` likewise
``[loss]``          ``name``: what the discriminator is trained by
``[reward]``        ``lambda``: share of the discriminator in the reward
``[objectives]``    an objective's name = its weight
``[algorithm]``     a name of `seqgan_music.algorithms.ALGORITHMS` and its options
==================  ===============================================================
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from seqgan_music import config, registry, transposition
from seqgan_music.algorithms import ALGORITHMS
from seqgan_music.discriminators import DISCRIMINATORS
from seqgan_music.errors import UsageError
from seqgan_music.generators import GENERATORS
from seqgan_music.losses import DISCRIMINATOR_LOSSES
from seqgan_music.midi import Reading
from seqgan_music.objectives import OBJECTIVES
from seqgan_music.tokenizers import TOKENIZERS

TABLES = {
    "tokenizer": TOKENIZERS,
    "generator": GENERATORS,
    "discriminator": DISCRIMINATORS,
    "loss": DISCRIMINATOR_LOSSES,
    "algorithm": ALGORITHMS,
}
DEFAULTS: config.Config = {
    "run": {"seed": 1, "device": "auto"},
    "reading": dataclasses.asdict(Reading()),
    "data": {"length": 64, "fractions": [0.8, 0.1, 0.1], "split_seed": 0, "transpose": "none"},
    "tokenizer": {"name": "grid"},
    "generator": {"name": "lstm"},
    "discriminator": {"name": "cnn"},
    "loss": {"name": "bce"},
    "reward": {"lambda": 1.0},
    "objectives": {},
    "algorithm": {"name": "seqgan"},
}
LAMBDA_WITH_OBJECTIVES = 0.5


def resolve(settings: Mapping[str, Mapping[str, Any]], *, own_code: bool = True) -> config.Config:
    """Fill in every default and refuse what no component knows.

    The tokenizer's options stay as given: what is left out is fitted to the corpus and recorded with the run.

    Raises
    ------
    UsageError
        Unknown section, component or option.
    """
    for section in settings:
        if section not in DEFAULTS:
            raise UsageError(f"unknown section [{section}]; there are: {', '.join(DEFAULTS)}")
    resolved = config.merge(DEFAULTS, settings)
    if resolved["objectives"] and "lambda" not in settings.get("reward", {}):
        resolved["reward"]["lambda"] = LAMBDA_WITH_OBJECTIVES
    for section in ("run", "reading", "data", "reward"):
        unknown = set(resolved[section]) - set(DEFAULTS[section])
        if unknown:
            raise UsageError(f"[{section}] has no option {min(unknown)!r}; it has: {', '.join(DEFAULTS[section])}")
        for option, value in resolved[section].items():
            _check_like(value, DEFAULTS[section][option], f"{section}.{option}")
    Reading(**resolved["reading"])
    if not 0 <= resolved["run"]["seed"] < 2**63:
        raise UsageError(f"run.seed must lie within 0 and 2^63 - 1, not {resolved['run']['seed']!r}")
    transposition.check_mode(resolved["data"]["transpose"])
    for section, table in TABLES.items():
        options = dict(resolved[section])
        name = options.pop("name")
        factory = registry.resolve(table, section, name, own_code=own_code)
        registry.check_options(factory, options, f"{section} {name!r}")
        if section != "tokenizer":
            resolved[section] = {"name": name, **registry.options_of(factory), **options}
    for name, weight in resolved["objectives"].items():
        registry.check_type(weight, float, f"the weight of objective {name!r}")
        registry.resolve(OBJECTIVES, "objective", name, own_code=own_code)
    return resolved


def shortcuts(
    algorithm: str | None = None,
    objectives: Mapping[str, float] | None = None,
    lambda_: float | None = None,
    *,
    seed: int | None = None,
    device: str | None = None,
    transpose: str | None = None,
) -> config.Config:
    """The settings that have an argument of their own, as sections."""
    sections: config.Config = {}
    if algorithm is not None:
        sections["algorithm"] = {"name": algorithm}
    if objectives:
        sections["objectives"] = dict(objectives)
    if lambda_ is not None:
        sections["reward"] = {"lambda": lambda_}
    if transpose is not None:
        sections["data"] = {"transpose": transpose}
    run = {"seed": seed, "device": device}
    if given := {name: value for name, value in run.items() if value is not None}:
        sections["run"] = given
    return sections


def reading_options(settings: config.Config, *, own_code: bool = True) -> dict[str, Any]:
    """How resolved settings want a corpus read: arguments of `seqgan_music.corpus.read_corpus`."""
    tokenizer = registry.resolve(TOKENIZERS, "tokenizer", settings["tokenizer"]["name"], own_code=own_code)
    return {"reading": Reading(**settings["reading"]), "every_part": getattr(tokenizer, "polyphonic", False)}


def _check_like(value: Any, default: Any, what: str) -> None:
    """Refuse a value of another kind than the default's."""
    if not isinstance(default, list):
        registry.check_type(value, type(default), what)
    elif not isinstance(value, list | tuple):
        raise UsageError(f"{what} must be a list such as {default}, not {value!r}")
    else:
        for one in value:
            registry.check_type(one, type(default[0]), f"{what}: each of the list")
