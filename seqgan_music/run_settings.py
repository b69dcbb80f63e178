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
``[loss]``          what the discriminator is trained by: a name of `seqgan_music.losses.DISCRIMINATOR_LOSSES` and its
                    options
``[reward]``        ``lambda``: share of the discriminator in the reward; ``uniqueness``, ``rescale``,
                    ``lambda_schedule`` and ``programme``, see `seqgan_music.rewards.Reward`
``[objectives]``    an objective, with what is wanted of it (see `seqgan_music.objectives.terms`) = its weight
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
from seqgan_music.objectives import terms
from seqgan_music.rewards import check, needs_discriminator
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
    "reward": {"lambda": 1.0, "uniqueness": False, "rescale": "none", "lambda_schedule": [], "programme": []},
    "objectives": {},
    "algorithm": {"name": "seqgan"},
}
LAMBDA_WITH_OBJECTIVES = 0.5
NAIVE_RL = "naive_rl"


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
    for section in ("run", "reading", "data", "reward"):
        unknown = set(resolved[section]) - set(DEFAULTS[section])
        if unknown:
            raise UsageError(f"[{section}] has no option {min(unknown)!r}; it has: {', '.join(DEFAULTS[section])}")
        for option, value in resolved[section].items():
            _check_like(value, DEFAULTS[section][option], f"{section}.{option}")
    for name, weight in resolved["objectives"].items():
        registry.check_type(weight, float, f"the weight of objective {name!r}")
        if own_code or ":" not in name:  # what was trained can be used without what it was trained by
            terms.read(name, own_code=own_code)
    _settle_lambda(resolved, given="lambda" in settings.get("reward", {}))
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
    if resolved["algorithm"]["name"] == "seqgan" and not _needs_discriminator(resolved):  # with λ = 0 it is naive RL
        has = registry.options_of(registry.resolve(ALGORITHMS, "algorithm", NAIVE_RL))
        resolved["algorithm"] = {"name": NAIVE_RL, **{name: resolved["algorithm"][name] for name in has}}
    return resolved


def lay(*layers: Mapping[str, Mapping[str, Any]]) -> config.Config:
    """Lay settings over each other as `seqgan_music.config.merge` does, but that an algorithm named by a later layer
    takes over the options of the earlier one's that it has too: they mean the same."""
    merged: config.Config = {}
    for layer in layers:
        before, options = merged.get("algorithm", {}), layer.get("algorithm", {})
        merged = config.merge(merged, layer)
        if "name" in before and options.get("name", before["name"]) != before["name"]:
            factory = registry.resolve(ALGORITHMS, "algorithm", options["name"], own_code=True)
            shared = {option: before[option] for option in before if option in registry.options_of(factory)}
            merged["algorithm"] = {**shared, **options}
    return merged


def shortcuts(
    algorithm: str | None = None,
    objectives: Mapping[str, float] | None = None,
    lambda_: float | None = None,
    *,
    d_loss: str | None = None,
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
    if d_loss is not None:
        sections["loss"] = {"name": d_loss}
    if transpose is not None:
        sections["data"] = {"transpose": transpose}
    run = {"seed": seed, "device": device}
    if given := {name: value for name, value in run.items() if value is not None}:
        sections["run"] = given
    return sections


def has_own_code(settings: config.Config) -> bool:
    """Whether resolved settings name code outside the package, which a run loads only if it is told to."""
    components = any(settings[section]["name"] not in table for section, table in TABLES.items())
    return components or any(":" in objective for objective in settings["objectives"])


def reading_options(settings: config.Config, *, own_code: bool = True) -> dict[str, Any]:
    """How resolved settings want a corpus read: arguments of `seqgan_music.corpus.read_corpus`."""
    tokenizer = registry.resolve(TOKENIZERS, "tokenizer", settings["tokenizer"]["name"], own_code=own_code)
    return {"reading": Reading(**settings["reading"]), "every_part": getattr(tokenizer, "polyphonic", False)}


def _settle_lambda(resolved: config.Config, *, given: bool) -> None:
    """λ where it was not given or has no say, and what contradicts the algorithm."""
    reward, name = resolved["reward"], resolved["algorithm"]["name"]
    schedule = reward["lambda_schedule"]
    if name == NAIVE_RL and not resolved["objectives"]:
        raise UsageError("algorithm naive_rl is trained by objectives alone; name one, such as -O tonality")
    if not given:
        reward["lambda"] = 0.0 if name == NAIVE_RL else LAMBDA_WITH_OBJECTIVES if resolved["objectives"] else 1.0
    if name == "mle":  # paid by no reward
        reward["lambda"] = 1.0
    check(resolved["objectives"], reward["lambda"], reward["rescale"], schedule, reward["programme"])
    if schedule and given and reward["lambda"] != schedule[0][1]:
        raise UsageError(
            f"reward.lambda_schedule begins with {schedule[0][1]:g}, but lambda is {reward['lambda']:g}; "
            "name one of them"
        )
    if schedule:
        reward["lambda"] = schedule[0][1]
    if name == NAIVE_RL and _needs_discriminator(resolved):
        raise UsageError(
            "algorithm naive_rl has no discriminator, so that lambda is 0; leave lambda out, or take seqgan"
        )


def _needs_discriminator(resolved: config.Config) -> bool:
    return needs_discriminator(resolved["reward"]["lambda"], resolved["reward"]["lambda_schedule"])


def _check_like(value: Any, default: Any, what: str) -> None:
    """Refuse a value of another kind than the default's."""
    if not isinstance(default, list):
        registry.check_type(value, type(default), what)
    elif not isinstance(value, list | tuple):
        such = f" such as {default}" if default else ""
        raise UsageError(f"{what} must be a list{such}, not {value!r}")
    elif default:
        for one in value:
            registry.check_type(one, type(default[0]), f"{what}: each of the list")
