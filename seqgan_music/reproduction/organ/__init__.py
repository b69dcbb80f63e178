"""The music experiment of ORGAN (Guimaraes et al., arXiv 1705.10843, Table 3): objectives against diversity.

For each objective, and all three at once, the same likelihood model goes on under the reward λ·D + (1 − λ)·O: λ = 1 is
SeqGAN, λ = 0 naive RL. Likelihood at other temperatures is the curve to beat: it too trades one for the other.

- `models`: what is trained, and from which other run each goes on.
- `training`: their runs, in one directory.
- `measuring`: songs of each, and what they are like.
- `verdict`: is there a λ that is better than both?
- `output`: tables, points and pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seqgan_music import config, reproduction
from seqgan_music.errors import UsageError
from seqgan_music.reproduction import runs

if TYPE_CHECKING:
    from seqgan_music.token_file import TokenFile

PRESET, QUICK = "organ", "organ-quick"
SEEDS = 5
SAMPLES, QUICK_SAMPLES = 6400, 1600
"""Songs of each model and seed; the first is the paper's."""
OBJECTIVES = ("tonality", "melodicity", "ratio_of_steps")
MIXTURE = "mixture"
TARGETS = {**{name: (name,) for name in OBJECTIVES}, MIXTURE: OBJECTIVES}
"""What is trained for: one objective, or all in equal shares."""
LAMBDAS = (0.2, 0.4, 0.6, 0.8)
TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
ROWS_OF_TOKENS: config.Config = {"tokenizer": {"name": "grid", "steps_per_quarter": 4, "low": 48, "high": 93}}
"""What the tokens of ORGAN's data mean: 0 rest, 1 hold, 2 to 47 the pitches C3 to A6."""

QUICK_ROWS, MOST_QUICK_EPOCHS = 100_000, 100

MLE, DISCRIMINATOR, SEQGAN = "mle", "discriminator", "seqgan"


@dataclass(frozen=True, slots=True)
class Model(runs.Model):
    """One run of every seed.

    Parameters
    ----------
    name, title, settings, parent
        See `seqgan_music.reproduction.runs.Model`.
    target : str, optional
        What it is trained for, a name of `TARGETS`.
    lambda_ : float, optional
        Share of the discriminator in its reward; None where there is no reward.
    """

    target: str | None = None
    lambda_: float | None = None


def settings(quick: bool = False, tokens: TokenFile | None = None) -> config.Config:
    """Settings of the experiment, on a folder or on the rows of a token file.

    The quick likelihood training has as many passes over a small file as make the steps that it has on `midi_data/`.
    """
    chosen = config.preset(QUICK if quick else PRESET)
    if tokens is None:
        return chosen
    own: config.Config = {**ROWS_OF_TOKENS, "data": {"length": tokens.length}}
    if quick:
        epochs = min(max(QUICK_ROWS // len(tokens), chosen["algorithm"]["generator_epochs"]), MOST_QUICK_EPOCHS)
        own["algorithm"] = {"generator_epochs": epochs, "patience": max(epochs // 10, chosen["algorithm"]["patience"])}
    return config.merge(chosen, own)


def models(targets: Iterable[str] = TARGETS, lambdas: Sequence[float] = LAMBDAS) -> list[Model]:
    """What is trained, each after the one it goes on from.

    Both pre-trainings are runs of their own, whose ends all the others begin with: trained once more they would come
    out the same.

    Parameters
    ----------
    targets : iterable of str
        Names of `TARGETS`.
    lambdas : sequence of float
        Shares of the discriminator in ORGAN's reward, between 0 and 1.

    Raises
    ------
    UsageError
        An unknown target, or a λ that is not between 0 and 1.
    """
    wanted = list(dict.fromkeys(targets))
    for target in wanted:
        if target not in TARGETS:
            raise UsageError(f"unknown objective {target!r}; the experiment has: {', '.join(TARGETS)}")
    for one in lambdas:
        if not 0 < one < 1:
            raise UsageError(
                f"a lambda of ORGAN lies between 0 and 1, not {one!r}; 0, naive RL, and 1 are trained anyway"
            )
    found = [
        Model(MLE, "MLE", {"algorithm": {"discriminator_sets": 0, "rounds": 0}}),
        Model(DISCRIMINATOR, "pre-training of the discriminator", {"algorithm": {"rounds": 0}}, MLE),
        Model(SEQGAN, "SeqGAN", _reward(OBJECTIVES, 1.0), DISCRIMINATOR, lambda_=1.0),
    ]
    for target in wanted:
        for one in (0.0, *sorted(set(lambdas))):
            title, parent = (f"ORGAN λ = {exact(one)}", DISCRIMINATOR) if one else ("naive RL", MLE)
            found.append(Model(f"{target}-{exact(one)}", title, _reward(TARGETS[target], one), parent, target, one))
    return found


def named(names: Iterable[str]) -> list[Model]:
    """The models of these names, in the order of `models`.

    Raises
    ------
    ValueError
        A name that ends in no number.
    """
    wanted = set(names)
    lambdas = {float(name.partition("-")[2]) for name in wanted if "-" in name}
    return [model for model in models(lambdas=sorted(lambdas - {0.0})) if model.name in wanted]


def exact(number: float) -> str:
    """A number as it is written, with all its digits.

    Examples
    --------
    >>> exact(0.4), exact(1.0), exact(0.12345678)
    ('0.4', '1', '0.12345678')
    """
    return repr(float(number)).removesuffix(".0")


def size(of: config.Config) -> str:
    """How settings stand to those of the whole experiment."""
    there, whole = _resolved(of), _resolved(settings())
    parts = [f"another {network}" for network in ("generator", "discriminator") if there[network] != whole[network]]
    if schedule := reproduction.departures({"algorithm": there["algorithm"]}, {"algorithm": whole["algorithm"]}):
        parts.append(schedule)
    return f"made small, which proves nothing: {', '.join(parts)}" if parts else "the authors' sizes and schedule"


def _reward(paid: Sequence[str], lambda_: float) -> config.Config:
    """All three objectives are measured in every round, whichever are paid."""
    weights: dict[str, Any] = {name: float(name in paid) for name in OBJECTIVES}
    return {"objectives": weights, "reward": {"lambda": lambda_}}


def _resolved(of: config.Config) -> config.Config:
    from seqgan_music import run_settings

    return reproduction.plain(run_settings.resolve(of))
