"""The settings of a run: which there are, what they are unless given, and what is refused.

Settings are sections of options. Each section belongs to one component, whose constructor's keyword-only arguments are
the options it takes; ``name`` says which component of a table it is.

==================  ===============================================================
``[run]``           ``seed``, ``device`` (auto, cpu, cuda, mps), ``precision``, see `seqgan_music.precision`
``[reading]``       how files are read; see `seqgan_music.midi.Reading`
``[data]``          ``length`` (T), ``fractions`` and ``split_seed`` of the split by tune, ``transpose`` (a mode of
                    `seqgan_music.transposition`)
``[tokenizer]``     a name of `seqgan_music.tokenizers.TOKENIZERS`, or of `VOCABULARIES` there, and its options
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
from seqgan_music import precision as precisions
from seqgan_music.algorithms import ALGORITHMS
from seqgan_music.discriminators import DISCRIMINATORS
from seqgan_music.errors import UsageError
from seqgan_music.generators import GENERATORS
from seqgan_music.losses import DISCRIMINATOR_LOSSES
from seqgan_music.midi import Reading
from seqgan_music.objectives import terms
from seqgan_music.rewards import check, lambdas
from seqgan_music.tokenizers import TOKENIZERS, VOCABULARIES, is_musical

TABLES = {
    "tokenizer": {**TOKENIZERS, **VOCABULARIES},
    "generator": GENERATORS,
    "discriminator": DISCRIMINATORS,
    "loss": DISCRIMINATOR_LOSSES,
    "algorithm": ALGORITHMS,
}
DEFAULTS: config.Config = {
    "run": {"seed": 1, "device": "auto", "precision": "float32"},
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
PLAIN = "tokens"  # the name in `VOCABULARIES` of what is no music, and of the preset for it


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
    if not is_music(resolved, own_code=own_code):
        no_music = f"and sequences of tokenizer {resolved['tokenizer']['name']!r} are no music"
        if resolved["objectives"]:
            raise UsageError(f"objectives score notes, {no_music}; leave out -O {next(iter(resolved['objectives']))}")
        if resolved["algorithm"]["name"] == NAIVE_RL:
            raise UsageError(f"algorithm {NAIVE_RL} is trained by scores of notes, {no_music}; take another algorithm")
    _settle_reward(resolved, given="lambda" in settings.get("reward", {}), own_code=own_code)
    Reading(**resolved["reading"])
    if not 0 <= resolved["run"]["seed"] < 2**63:
        raise UsageError(f"run.seed must lie within 0 and 2^63 - 1, not {resolved['run']['seed']!r}")
    precisions.check(resolved["run"]["precision"])
    transposition.check_mode(resolved["data"]["transpose"])
    for section, table in TABLES.items():
        options = dict(resolved[section])
        name = options.pop("name")
        factory = registry.resolve(table, section, name, own_code=own_code)
        registry.check_options(factory, options, f"{section} {name!r}")
        if section != "tokenizer":
            resolved[section] = {"name": name, **registry.options_of(factory), **options}
    if resolved["algorithm"]["name"] == "seqgan" and max(lambdas(resolved["reward"])) == 0:  # that is naive RL
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
    precision: str | None = None,
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
    run = {"seed": seed, "device": device, "precision": precision}
    if given := {name: value for name, value in run.items() if value is not None}:
        sections["run"] = given
    return sections


def is_steerable(algorithm: str, *, own_code: bool = True) -> bool:
    """Whether objectives can have a share in what an algorithm is paid."""
    return bool(getattr(registry.resolve(ALGORITHMS, "algorithm", algorithm, own_code=own_code), "steerable", True))


def default_preset(*layers: Mapping[str, Mapping[str, Any]]) -> str:
    """The preset to lay settings over that name none: ``steered`` where objectives have a share in the reward.

    Examples
    --------
    >>> default_preset({"objectives": {"tonality": 1.0}}), default_preset({"run": {"seed": 3}})
    ('steered', 'default')
    """
    merged = config.merge({"algorithm": DEFAULTS["algorithm"]}, *layers)
    if not merged.get("objectives") or not is_steerable(merged["algorithm"]["name"]):
        return "default"
    reward = {"lambda": LAMBDA_WITH_OBJECTIVES, **merged.get("reward", {})}
    return "default" if all(value == 1 for value in lambdas(reward)) else "steered"


def has_own_code(settings: config.Config) -> bool:
    """Whether resolved settings name code outside the package, which a run loads only if it is told to."""
    components = any(settings[section]["name"] not in table for section, table in TABLES.items())
    return components or any(":" in objective for objective in settings["objectives"])


def is_music(settings: Mapping[str, Mapping[str, Any]], *, own_code: bool = True) -> bool:
    """Whether the tokens of settings say notes."""
    return is_musical(_tokenizer(settings, own_code=own_code))


def of_token_file(*layers: Mapping[str, Mapping[str, Any]]) -> config.Config:
    """The section that a token file's settings have unless layers name a tokenizer of music; none then."""
    named = config.merge(*layers).get("tokenizer", {}).get("name", PLAIN)
    return {"tokenizer": {"name": PLAIN}} if named == PLAIN else {}


def for_tokens(preset: Mapping[str, Mapping[str, Any]]) -> config.Config:
    """A preset, or else that for plain tokens, without a length: the file of tokens says it."""
    base = config.merge(preset or config.preset(PLAIN))
    base.get("data", {}).pop("length", None)
    return base


def reading_options(settings: config.Config, *, own_code: bool = True) -> dict[str, Any]:
    """How resolved settings want a corpus read: arguments of `seqgan_music.corpus.read_corpus`.

    Raises
    ------
    UsageError
        They are for sequences that are no music.
    """
    if not is_music(settings, own_code=own_code):
        name = settings["tokenizer"]["name"]
        raise UsageError(f"tokenizer {name!r} is of sequences that are no music, which train --tokens FILE takes")
    tokenizer = _tokenizer(settings, own_code=own_code)
    return {"reading": Reading(**settings["reading"]), "every_part": getattr(tokenizer, "polyphonic", False)}


def _tokenizer(settings: Mapping[str, Mapping[str, Any]], *, own_code: bool) -> Any:
    return registry.resolve(TABLES["tokenizer"], "tokenizer", settings["tokenizer"]["name"], own_code=own_code)


def _settle_reward(resolved: config.Config, *, given: bool, own_code: bool) -> None:
    """λ where it was not given, the section as it is by itself where it has no say, and what contradicts the
    algorithm."""
    name = resolved["algorithm"]["name"]
    algorithm = registry.resolve(ALGORITHMS, "algorithm", name, own_code=own_code)
    steerable = getattr(algorithm, "steerable", True)
    by_objectives_alone = steerable and not getattr(algorithm, "discriminated", True)
    if not steerable:
        resolved["reward"] = dict(DEFAULTS["reward"])
    reward = resolved["reward"]
    schedule = reward["lambda_schedule"]
    if by_objectives_alone and not resolved["objectives"]:
        raise UsageError(f"algorithm {name} is trained by objectives alone; name one, such as -O tonality")
    if steerable and not given:
        reward["lambda"] = 0.0 if by_objectives_alone else LAMBDA_WITH_OBJECTIVES if resolved["objectives"] else 1.0
    check(resolved["objectives"], reward["lambda"], reward["rescale"], schedule, reward["programme"])
    if schedule and given and reward["lambda"] != schedule[0][1]:
        raise UsageError(
            f"reward.lambda_schedule begins with {schedule[0][1]:g}, but lambda is {reward['lambda']:g}; "
            "name one of them"
        )
    if schedule:
        reward["lambda"] = schedule[0][1]
    if by_objectives_alone and max(lambdas(reward)) > 0:
        raise UsageError(
            f"algorithm {name} has no discriminator, so that lambda is 0; leave lambda out, or take seqgan"
        )


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
