"""Is there a λ at which the discriminator is worth it? Judged by figures alone.

A model trained for an objective is judged by three questions:

- *Better than naive RL*: is the objective higher, at an equal or higher diversity?
- *Above MLE's curve*: has likelihood no temperature at which diversity and objective are both as high or higher?
  Between two neighbouring temperatures that were measured the curve is taken for a straight line.
- *More like music than naive RL*: is BLEU-4 nearer to real music's?

*Above MLE's curve* asks for a new point of the frontier, no more: whatever has more of the objective than MLE at any
temperature passes, with however little diversity, and so does most naive RL.

Two more have no part in the verdict. Is the model above the path that naive RL took, round by round? Had it been
stopped early it could have been anywhere on it. And is its objective higher than MLE's at every temperature, at an
equal or higher diversity? That is more than a new point: it is better than the whole curve.

All are asked of every seed, and of the means over seeds, the curve by the temperatures that all of the seeds have.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BETTER, ABOVE, NEARER = "better than naive RL", "above MLE's curve", "BLEU-4 nearer to real than naive RL's"
EARLY = "above naive RL stopped at any round"
OVER = "higher than MLE at every temperature, and as diverse"
QUESTIONS = (BETTER, ABOVE, NEARER)
"""Those of the verdict."""


@dataclass(frozen=True, slots=True)
class Point:
    """A model's objective, diversity and BLEU-4."""

    objective: float
    diversity: float
    bleu: float


@dataclass(frozen=True, slots=True)
class Answers:
    """What is true of a λ.

    Parameters
    ----------
    lambda_ : float
    mean : dict of str to bool
        Question → answer for the means over the seeds.
    seeds : dict of str to list of int
        Question → seeds of which the answer is yes.
    asked : list of int
        Seeds of which all that is needed is there.
    """

    lambda_: float
    mean: dict[str, bool]
    seeds: dict[str, list[int]]
    asked: list[int]

    @property
    def holds(self) -> bool:
        """Whether all three are true of the means."""
        return all(self.mean[question] for question in QUESTIONS)

    @property
    def everywhere(self) -> list[int]:
        """Seeds of which all three are true."""
        return [seed for seed in self.asked if all(seed in self.seeds[question] for question in QUESTIONS)]


def above(point: Point, curve: Sequence[Point]) -> bool:
    """Whether a curve has no point at which objective and diversity are both as high or higher.

    Parameters
    ----------
    point : Point
    curve : sequence of Point
        In the order of their temperatures; those that are not defined are left out.

    Examples
    --------
    >>> line = [Point(0.4, 0.2, 0), Point(0.2, 0.4, 0)]
    >>> above(Point(0.35, 0.31, 0), line), above(Point(0.29, 0.29, 0), line), above(Point(0.5, 0.1, 0), line)
    (True, False, True)
    """
    if not _defined(point):
        return False
    known = [one for one in curve if _defined(one)]
    if any(one.objective >= point.objective and one.diversity >= point.diversity for one in known):
        return False
    return not any(_reaches(a, b, point) for a, b in itertools.pairwise(known))


def answers(
    point: Point, naive: Point, curve: Sequence[Point], real_bleu: float, path: Sequence[Point]
) -> dict[str, bool]:
    """The answers for one model; `path` is where naive RL stood after each round."""
    known = [one for one in curve if _defined(one)]
    return {
        BETTER: point.objective > naive.objective and point.diversity >= naive.diversity,
        ABOVE: above(point, curve),
        NEARER: abs(point.bleu - real_bleu) < abs(naive.bleu - real_bleu),
        EARLY: above(point, [*path, naive]),
        OVER: all(point.objective > one.objective and point.diversity >= one.diversity for one in known),
    }


def judge(
    models: Mapping[float, Mapping[int, Point]],
    naive: Mapping[int, Point],
    curve: Mapping[float, Mapping[int, Point]],
    real_bleu: float,
    paths: Mapping[int, Sequence[Point]],
) -> list[Answers]:
    """Ask the questions of every λ.

    Parameters
    ----------
    models : mapping of float to mapping of int to Point
        λ → seed → point, of what was trained for one objective.
    naive : mapping of int to Point
        Naive RL for the same, by seed.
    curve : mapping of float to mapping of int to Point
        Temperature → seed → point of MLE.
    real_bleu : float
        BLEU-4 of real music.
    paths : mapping of int to sequence of Point
        Seed → naive RL after each of its rounds.

    Returns
    -------
    list of Answers
        By λ; one of which no seed has everything is left out.
    """
    found = []
    for lambda_, of_seeds in sorted(models.items()):
        of_mle = {seed: [curve[t][seed] for t in sorted(curve) if seed in curve[t]] for seed in of_seeds}
        asked = [seed for seed in sorted(of_seeds) if seed in naive and seed in paths and of_mle[seed]]
        if not asked:
            continue
        shared = [t for t in sorted(curve) if all(seed in curve[t] for seed in asked)]
        single = {seed: answers(of_seeds[seed], naive[seed], of_mle[seed], real_bleu, paths[seed]) for seed in asked}
        together = answers(
            mean([of_seeds[seed] for seed in asked]),
            mean([naive[seed] for seed in asked]),
            [mean([curve[t][seed] for seed in asked]) for t in shared],
            real_bleu,
            [mean(points) for points in zip(*(paths[seed] for seed in asked), strict=True)],
        )
        by_question = {question: [seed for seed in asked if single[seed][question]] for question in together}
        found.append(Answers(lambda_, together, by_question, asked))
    return found


def mean(points: Sequence[Point]) -> Point:
    """Of each figure."""
    figures = zip(*((one.objective, one.diversity, one.bleu) for one in points), strict=True)
    return Point(*(math.fsum(values) / len(points) for values in figures))


def _defined(point: Point) -> bool:
    return math.isfinite(point.objective) and math.isfinite(point.diversity)


def _reaches(a: Point, b: Point, point: Point) -> bool:
    """Whether somewhere on the line from a to b both figures are as high as those of a point, or higher."""
    low, high = 0.0, 1.0  # share of the way on which that is so
    for start, end, least in (
        (a.objective, b.objective, point.objective),
        (a.diversity, b.diversity, point.diversity),
    ):
        if start < least and end < least:
            return False
        if start != end:
            crossing = (least - start) / (end - start)
            if start < least:
                low = max(low, crossing)
            elif end < least:
                high = min(high, crossing)
    return low <= high
