"""Is a model better than likelihood, or only sharper? Judged by figures alone.

NLL_oracle can be bought: a lower temperature gives more probable samples, fewer of them different, and a worse
likelihood of held-out data. So a model stands beside a likelihood model at the temperature of *equal* NLL_oracle, on
straight lines between neighbouring temperatures that were measured. It is better if there

- its likelihood of held-out sequences is no worse (NLL_test is no higher), and
- its samples are no less different (the unique share is no lower).

Where no measured temperature reaches that NLL_oracle there is no answer. All is asked of every seed and of the means
over seeds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from seqgan_music.comparison.statistics import TTest, holm, welch

LIKELIHOOD, DIVERSITY = "NLL_test no higher", "unique share no lower"
QUESTIONS = (LIKELIHOOD, DIVERSITY)
OVER_SAMPLES, OVER_ALL_SAMPLES, OVER_SEEDS = "samples of a seed", "samples of all seeds", "seeds"
KINDS = (OVER_SAMPLES, OVER_ALL_SAMPLES, OVER_SEEDS)


@dataclass(frozen=True, slots=True)
class Point:
    """A model's figures, NLL in nats per token; the temperature that it is sampled at."""

    nll_oracle: float
    nll_test: float
    unique: float
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A model beside the likelihood model of equal NLL_oracle.

    Parameters
    ----------
    point : Point
        The model's.
    tempered : Point, optional
        The likelihood model's; None where there is none.
    why_not : str
        Why there is none.
    """

    point: Point
    tempered: Point | None
    why_not: str = ""

    def __getitem__(self, question: str) -> bool | None:
        """The answer to one of `QUESTIONS`; None where there is none."""
        if self.tempered is None:
            return None
        if question == LIKELIHOOD:
            return self.point.nll_test <= self.tempered.nll_test
        return self.point.unique >= self.tempered.unique

    @property
    def holds(self) -> bool | None:
        """Whether both are true."""
        return None if self.tempered is None else all(self[question] for question in QUESTIONS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is true of a model beside a likelihood model: for the means over seeds, and for each of them."""

    model: str
    baseline: str
    mean: Answer
    seeds: dict[int, Answer]


@dataclass(frozen=True, slots=True)
class Contrast:
    """A test of NLL_oracle.

    Parameters
    ----------
    row, baseline : str
        Models.
    over : str
        One of `KINDS`: Welch's test over the samples of one seed; over those of all seeds together, which takes the
        samples of one training for independent of each other; over the seeds' means.
    seed : int, optional
        Whose samples.
    result : TTest
    p_holm : float
        Corrected by Holm's method; a family is all tests of the same kind.
    """

    row: str
    baseline: str
    over: str
    seed: int | None
    result: TTest
    p_holm: float = math.nan


def equal_quality(nll_oracle: float, curve: Sequence[Point]) -> Point | None:
    """Where a curve has some NLL_oracle, on straight lines between neighbouring points; None outside of it.

    Parameters
    ----------
    nll_oracle : float
    curve : sequence of Point
        By temperature; those that are not defined are left out. Where it comes by more than once, the highest
        temperature is taken, which has the most different samples.

    Examples
    --------
    >>> line = [Point(7.0, 9.5, 0.5, 0.8), Point(8.0, 9.0, 0.9, 1.0)]
    >>> equal_quality(7.5, line), equal_quality(6.9, line)
    (Point(nll_oracle=7.5, nll_test=9.25, unique=0.7, temperature=0.9), None)
    """
    known = sorted((one for one in curve if _defined(one)), key=lambda one: one.temperature)
    if not math.isfinite(nll_oracle):
        return None
    for low, high in reversed(list(itertools.pairwise(known))):
        if min(low.nll_oracle, high.nll_oracle) <= nll_oracle <= max(low.nll_oracle, high.nll_oracle):
            way = high.nll_oracle - low.nll_oracle
            share = (nll_oracle - low.nll_oracle) / way if way else 1.0
            return Point(
                nll_oracle,
                low.nll_test + share * (high.nll_test - low.nll_test),
                low.unique + share * (high.unique - low.unique),
                low.temperature + share * (high.temperature - low.temperature),
            )
    return None


def answer(point: Point, curve: Sequence[Point]) -> Answer:
    """A model's point beside the likelihood model's curve."""
    if not _defined(point):
        return Answer(point, None, "a figure of the model is not defined")
    found = equal_quality(point.nll_oracle, curve)
    if found is not None:
        return Answer(point, found)
    known = [one for one in curve if _defined(one)]
    if len(known) < 2:
        return Answer(point, None, "the likelihood model was measured at fewer than two temperatures")
    beyond = "lower" if point.nll_oracle < min(one.nll_oracle for one in known) else "higher"
    return Answer(point, None, f"NLL_oracle {beyond} than at every temperature measured")


def judge(
    models: Mapping[str, Mapping[int, Point]], curve: Mapping[float, Mapping[int, Point]], baseline: str
) -> list[Verdict]:
    """Ask of every model and seed.

    Parameters
    ----------
    models : mapping of str to mapping of int to Point
        Model → seed → point.
    curve : mapping of float to mapping of int to Point
        Temperature of the likelihood model → seed → point.
    baseline : str
        Name of the likelihood model.

    Returns
    -------
    list of Verdict
        In the order of the models; one is left out of which no seed has a likelihood model. The means are of the
        seeds that have one, and of the temperatures that all of them have.
    """
    found = []
    for name, of_seeds in models.items():
        of_mle = {seed: [curve[t][seed] for t in sorted(curve) if seed in curve[t]] for seed in of_seeds}
        asked = [seed for seed in sorted(of_seeds) if of_mle[seed]]
        if not asked:
            continue
        shared = [t for t in sorted(curve) if all(seed in curve[t] for seed in asked)]
        means = [mean([curve[t][seed] for seed in asked]) for t in shared]
        together = answer(mean([of_seeds[seed] for seed in asked]), means)
        found.append(Verdict(name, baseline, together, {seed: answer(of_seeds[seed], of_mle[seed]) for seed in asked}))
    return found


def contrasts(
    scores: Mapping[str, Mapping[int, np.ndarray]], row: str, baselines: Sequence[str] | None = None
) -> list[Contrast]:
    """Test a model's NLL_oracle against others on the seeds that both have, not yet corrected.

    Parameters
    ----------
    scores : mapping of str to mapping of int to ndarray
        Model → seed → NLL_oracle of single samples.
    row : str
    baselines : sequence of str, optional
        All others, if left out. One with none of the model's seeds is not tested against.
    """
    if row not in scores:
        return []
    found = []
    for other in [name for name in scores if name != row] if baselines is None else baselines:
        mine, theirs = scores[row], scores[other]
        shared = sorted(set(mine) & set(theirs))
        if not shared:
            continue
        found += [Contrast(row, other, OVER_SAMPLES, seed, welch(mine[seed], theirs[seed])) for seed in shared]
        pooled = [np.concatenate([of[seed] for seed in shared]) for of in (mine, theirs)]
        found.append(Contrast(row, other, OVER_ALL_SAMPLES, None, welch(*pooled)))
        means = [np.array([of[seed].mean() for seed in shared]) for of in (mine, theirs)]
        found.append(Contrast(row, other, OVER_SEEDS, None, welch(*means)))
    return found


def corrected(tests: Sequence[Contrast]) -> list[Contrast]:
    """With Holm's correction; a family is all tests of the same kind."""
    found = list(tests)
    for kind in KINDS:
        family = [number for number, test in enumerate(tests) if test.over == kind]
        adjusted = holm([tests[number].result.p for number in family])
        for number, p in zip(family, adjusted.tolist(), strict=True):
            found[number] = replace(tests[number], p_holm=p)
    return found


def mean(points: Sequence[Point]) -> Point:
    """Of each figure."""
    columns = zip(*((one.nll_oracle, one.nll_test, one.unique, one.temperature) for one in points), strict=True)
    return Point(*(math.fsum(values) / len(points) for values in columns))


def _defined(point: Point) -> bool:
    return all(map(math.isfinite, (point.nll_oracle, point.nll_test, point.unique)))
