"""The oracle experiment of SeqGAN (Yu et al. 2017, arXiv 1609.05473, Table 1 and Figures 2 to 4).

A randomly initialised LSTM is the true distribution. It makes the sequences that are trained on, and says of a trained
generator's samples how probable they are: NLL_oracle. That alone can be bought, by a sharper softmax or by learning the
training sequences by heart; so the likelihood of held-out sequences, NLL_test, and the share of different samples stand
beside it, and MLE at several temperatures is the curve to beat.

- `models`: what is trained, and from which other run each goes on.
- `distribution`: the oracle.
- `training`: the runs, in one directory.
- `measuring`: samples of each, and what the oracle says of them.
- `verdict`: better than MLE at the temperature of equal NLL_oracle?
- `output`: tables, points and pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from seqgan_music import config, reproduction, run_settings
from seqgan_music.errors import UsageError
from seqgan_music.reproduction import runs

SIZES: dict[str, dict[str, Any]] = {
    "paper": {
        "vocab_size": 5000,
        "length": 20,
        "embedding": 32,
        "hidden": 32,
        "seed": 0,
        "sequences": 10_000,
        "held_out": 2_000,
        "samples": 10_000,
        "strategy_rounds": 200,
        "curve_samples": 2_000,
    },
    "small": {
        "vocab_size": 200,
        "length": 20,
        "embedding": 32,
        "hidden": 32,
        "seed": 0,
        "sequences": 5_000,
        "held_out": 1_000,
        "samples": 5_000,
        "strategy_rounds": 6,
        "curve_samples": 1_000,
    },
    "tiny": {
        "vocab_size": 20,
        "length": 6,
        "embedding": 4,
        "hidden": 4,
        "seed": 0,
        "sequences": 60,
        "held_out": 20,
        "samples": 40,
        "strategy_rounds": 2,
        "curve_samples": 20,
    },
}
"""Options of ``[oracle]``: V and T, widths of its network, the seed of its weights, training sequences, validation and
test sequences each, samples of the table and of every point of a curve, rounds of each strategy of Figure 3."""
PRESETS = {"paper": "oracle", "small": "oracle-small", "tiny": "oracle-tiny"}
SEEDS = 3
TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)

RANDOM, MLE, EARLY, SCHEDULED = "random", "mle", "early-mle", "scheduled-sampling"
PG_BLEU, DISCRIMINATOR, SEQGAN = "pg-bleu", "discriminator", "seqgan"
IMPROVED_MLE, IMPROVED_DISCRIMINATOR, IMPROVED = "improved-mle", "improved-discriminator", "improved"
BASELINES = (MLE, EARLY, IMPROVED_MLE)
"""Likelihood models, whose curves over temperatures are to be beaten."""
STRATEGIES = ((100, 1, 10), (30, 1, 30), (1, 1, 10), (1, 5, 3))
"""(g, d, k) of the paper's Figure 3: generator steps in a round, training sets of D, epochs on each."""
PARTS = ("table", "improved", "strategies", "short")
"""Table 1 with Figure 2; what is better; Figure 3; Figure 4."""
ONE_SEED = frozenset({"strategies", "short"})
"""Parts that are trained with seed 1 alone: the paper's figures show one training each."""
SHORT = 10
"""Too short a pre-training has so many times fewer epochs."""
EARLY_PATIENCE = 5


@dataclass(frozen=True, slots=True)
class Model(runs.Model):
    """One run of every seed.

    Parameters
    ----------
    name, title, settings, parent
        See `seqgan_music.reproduction.runs.Model`.
    tempered : bool
        It is measured at other temperatures too: a curve to beat, or one that is to beat it.
    shown : bool
        It is a row of the table; a pre-training that others go on from is none.
    """

    tempered: bool = False
    shown: bool = True


def options(size: str, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Options of ``[oracle]``.

    Parameters
    ----------
    size : str
        Of `SIZES`.
    own : mapping, optional
        In place of those of the size.

    Raises
    ------
    UsageError
        An unknown size or option, or a value that cannot be meant.
    """
    if size not in SIZES:
        raise UsageError(f"unknown size {size!r}; there are: {', '.join(SIZES)}")
    chosen = dict(SIZES[size])
    for name, value in (own or {}).items():
        if name not in chosen:
            raise UsageError(f"[oracle] has no option {name!r}; it has: {', '.join(chosen)}")
        least = 0 if name == "seed" else 2
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UsageError(f"oracle.{name} must be a whole number, {least} or more, not {value!r}")
        chosen[name] = value
    return chosen


def settings(size: str, oracle: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]] | None = None) -> config.Config:
    """Settings of the runs.

    Parameters
    ----------
    size : str
        Of `SIZES`.
    oracle : mapping
        From `options`.
    own : mapping, optional
        Sections laid over those of the size.
    """
    whole = oracle["sequences"] + 2 * oracle["held_out"]
    share = oracle["held_out"] / whole
    data: config.Config = {
        "tokenizer": {"name": "tokens", "size": oracle["vocab_size"], "start": 0},
        "data": {"length": oracle["length"], "fractions": [1 - 2 * share, share, share]},
    }
    return run_settings.lay(config.preset(PRESETS[size]), data, own or {})


def models(
    of: Mapping[str, Mapping[str, Any]],
    parts: Iterable[str] = PARTS,
    *,
    strategy_rounds: int | None = None,
    better: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Model]:
    """What is trained, each after the one it goes on from.

    One likelihood training and one pre-training of the discriminator serve all that have the same: trained once more
    they would come out the same.

    Parameters
    ----------
    of : mapping
        Settings of the experiment.
    parts : iterable of str
        Of `PARTS`.
    strategy_rounds : int, optional
        Rounds of each of `STRATEGIES`; those of the settings, if left out.
    better : mapping, optional
        Settings of the improved rows, laid over `BETTER`.

    Raises
    ------
    UsageError
        An unknown part.
    """
    wanted = set(parts)
    for part in sorted(wanted - set(PARTS)):
        raise UsageError(f"unknown part {part!r}; the experiment has: {', '.join(PARTS)}")
    found = [Model(MLE, "MLE", _pretraining(), tempered=True)]
    if wanted & {"table", "strategies"}:
        found.append(Model(DISCRIMINATOR, "pre-training of the discriminator", _algorithm(rounds=0), MLE, shown=False))
    if "table" in wanted:
        found = [
            Model(RANDOM, "random", _algorithm(name="random")),
            *found,
            Model(EARLY, "MLE, best epoch", _pretraining(patience=EARLY_PATIENCE), tempered=True),
            Model(SCHEDULED, "scheduled sampling", _algorithm(name="scheduled_sampling", **_epochs(of))),
            Model(PG_BLEU, "PG-BLEU", _algorithm(name="pg_bleu"), MLE),
            Model(SEQGAN, "SeqGAN", {}, DISCRIMINATOR),
        ]
    if "improved" in wanted:
        chosen = run_settings.lay(BETTER, better or {})
        found += [
            Model(IMPROVED_MLE, "MLE, improved", config.merge(chosen, _pretraining()), tempered=True),
            Model(
                IMPROVED_DISCRIMINATOR,
                "pre-training of the improved discriminator",
                config.merge(chosen, _algorithm(rounds=0)),
                IMPROVED_MLE,
                shown=False,
            ),
            Model(IMPROVED, "SeqGAN, improved", chosen, IMPROVED_DISCRIMINATOR, tempered=True),
        ]
    if "strategies" in wanted:
        rounds = of["algorithm"]["rounds"] if strategy_rounds is None else strategy_rounds
        found += [
            Model(
                strategy(g, d, k),
                f"SeqGAN (g, d, k) = ({g}, {d}, {k})",
                _algorithm(g_steps=g, d_steps=d, d_epochs=k, rounds=rounds),
                DISCRIMINATOR,
            )
            for g, d, k in STRATEGIES
        ]
    if "short" in wanted:
        few = max(1, int(of["algorithm"]["generator_epochs"]) // SHORT)
        title = f"SeqGAN after {few} epoch{'s' if few > 1 else ''} of likelihood"
        found += [
            Model("short-mle", f"MLE, {few} epochs", _pretraining(generator_epochs=few), shown=False),
            Model(
                "short-discriminator",
                "its discriminator",
                _algorithm(generator_epochs=few, rounds=0),
                "short-mle",
                shown=False,
            ),
            Model("short-seqgan", title, _algorithm(generator_epochs=few), "short-discriminator"),
        ]
    return found


def strategy(g: int, d: int, k: int) -> str:
    """Name of the model that is trained by a strategy of Figure 3."""
    return f"strategy-{g}-{d}-{k}"


def size_of(oracle: Mapping[str, Any], of: Mapping[str, Mapping[str, Any]]) -> str:
    """How sizes and settings stand to those of the paper."""
    whole = SIZES["paper"]
    ours = ("seed", "curve_samples")  # which the paper does not say
    sizes = [
        f"{name} {oracle[name]}, not {value}"
        for name, value in whole.items()
        if oracle[name] != value and name not in ours
    ]
    there, paper = (reproduction.plain(run_settings.resolve(one)) for one in (of, settings("paper", whole)))
    networks = ("generator", "discriminator")
    parts = [*sizes, *(f"another {network}" for network in networks if there[network] != paper[network])]
    if schedule := reproduction.departures({"algorithm": there["algorithm"]}, {"algorithm": paper["algorithm"]}):
        parts.append(schedule)
    return f"not the paper's: {', '.join(parts)}" if parts else "the paper's sizes, its authors' schedule"


def _algorithm(**values: Any) -> config.Config:
    return {"algorithm": values}


def _pretraining(**values: Any) -> config.Config:
    return _algorithm(**values, discriminator_sets=0, rounds=0)


def _epochs(of: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Of likelihood training, by the names that algorithms have which are nothing else."""
    from_, to = ("generator_epochs", "generator_learning_rate"), ("epochs", "learning_rate")
    return {new: of["algorithm"][old] for old, new in zip(from_, to, strict=True)}


BETTER: config.Config = {
    "generator": {"embedding": 64, "hidden": 128, "dropout": 0.5},
    "discriminator": {"embedding": 64, "filters": [[1, 32], [2, 64], [3, 64], [4, 32]], "dropout": 0.5},
    "algorithm": {
        "patience": EARLY_PATIENCE,
        "generator_learning_rate": 5e-3,
        "discriminator_sets": 16,
        "discriminator_set_epochs": 1,
        "discriminator_samples": 0,
        "discriminator_learning_rate": 1e-3,
        "g_steps": 2,
        "d_steps": 1,
        "d_epochs": 1,
        "policy_batch_size": 4096,
        "rollouts": 0,
        "policy_learning_rate": 5e-4,
        "baseline": "mean",
        "normalize_advantage": True,
    },
}
"""What helped in the small size, over the settings of any: a wider generator that is kept from learning its sequences
by heart, and small policy steps of many sequences. docs/log.md has what was tried."""
