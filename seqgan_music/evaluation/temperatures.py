"""Quality against diversity: a generator measured at many temperatures is a curve, not a point.

A lower temperature buys quality with diversity, a higher one the reverse, with nothing learned. So one generator is
better than another only where its curve is (Caccia et al., "Language GANs Falling Short", ICLR 2020, arXiv 1811.02549).
Quality is BLEU-4 against test tunes and diversity is Self-BLEU-4 (high where samples are alike); the target of both is
real music's point, not a corner of the plane.

The best temperature of a stage is chosen on the validation part by `Closeness`, by samples of their own, so that
neither the test tunes nor the luck of the measured samples has a part in the choice.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from seqgan_music import files
from seqgan_music.errors import UsageError
from seqgan_music.evaluation import REAL, Closeness, beside_anchors, check_run, closeness, draw, finite
from seqgan_music.evaluation.objectives import Objectives
from seqgan_music.sampling import check_narrowing

if TYPE_CHECKING:
    from seqgan_music.run import Run

DEFAULT = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
PLANE = ("self_bleu_4", "bleu_4")
"""Diversity and quality: the axes in which curves are drawn and compared."""
DISTANCE = "distance_validation"
DRAWS = 4
"""Sets of samples over which the distance on the validation part is averaged. On the default preset one set's distance
varies by 0.006 from seed to seed, as much as from one temperature to the next."""
RESAMPLINGS = 1000


@dataclass(frozen=True, slots=True)
class Curves:
    """What was measured at each temperature of each stage.

    Parameters
    ----------
    points : dict of str to dict of float to dict of str to float
        Stage → temperature, ascending → metric → value; and ``distance_validation``, the mean distance from real music
        on the validation part.
    anchors : dict of str to dict of str to float
        Real music, Markov chains and noise, measured beside them.
    facts : dict
        Sizes, seeds, versions: what the numbers depend on.
    resampled : dict of str to ndarray
        Stage → its `distance` over `RESAMPLINGS` sets of as many samples and real windows drawn with replacement, the
        same ones for every stage.
    objectives : Objectives
        Those that were measured.
    """

    points: dict[str, dict[float, dict[str, float]]]
    anchors: dict[str, dict[str, float]]
    facts: dict[str, Any] = field(default_factory=dict)
    resampled: dict[str, np.ndarray] = field(default_factory=dict)
    objectives: Objectives = field(default_factory=Objectives.built_in)

    @property
    def best(self) -> dict[str, float]:
        """Stage → the temperature whose samples were nearest to real music on the validation part.

        Of two equally near ones that nearer to 1; a stage of which no distance is defined is left out.
        """
        best = {}
        for stage, curve in self.points.items():
            distance = {t: values[DISTANCE] for t, values in curve.items() if math.isfinite(values[DISTANCE])}
            if distance:
                best[stage] = min(distance, key=lambda t: (distance[t], abs(t - 1)))
        return best

    def distance(self, stage: str) -> float:
        """How far a stage's curve is from real music's point in `PLANE`; NaN where nothing is defined."""
        points = [[values[name] for name in PLANE] for values in self.points[stage].values()]
        return distance_to_curve(points, [self.anchors[REAL][name] for name in PLANE])

    def interval(self, stage: str) -> tuple[float, float]:
        """Where 95 % of the resampled distances of a stage lie; NaN where none is defined."""
        defined = self.resampled[stage][np.isfinite(self.resampled[stage])]
        low, high = np.percentile(defined, [2.5, 97.5]) if len(defined) else (math.nan, math.nan)
        return float(low), float(high)

    def nearer(self, stage: str, than: str) -> float:
        """Share of the resamplings in which a stage's curve comes nearer to real music's point than another's.

        What varies is the samples of one training; another training varies more. Near 0.5 nothing can be said; where
        both come equally near, that counts half.
        """
        mine, other = self.resampled[stage], self.resampled[than]
        return float(((mine < other) + 0.5 * (mine == other)).mean())

    def rows(self) -> dict[str, dict[str, float]]:
        """A row for every point, such as ``"mle at 0.8"``, and for every anchor."""
        best = self.best
        rows = {
            f"{stage} at {str(temperature).removesuffix('.0')}"
            f"{', its best' if best.get(stage) == temperature else ''}": values
            for stage, curve in self.points.items()
            for temperature, values in curve.items()
        }
        return rows | self.anchors

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON: NaN becomes None."""
        named = {name: asdict(metric) for name, metric in self.objectives.metrics.items()}
        return {
            "rows": [
                {"stage": stage, "temperature": temperature, **finite(values)}
                for stage, curve in self.points.items()
                for temperature, values in curve.items()
            ],
            "real": finite(self.anchors[REAL]),
            "anchors": {name: finite(values) for name, values in self.anchors.items()},
            "facts": {
                **self.facts,
                "best_temperature": self.best,
                "distance_of_curve_to_real": {
                    stage: finite({"distance": self.distance(stage), "low": low, "high": high})
                    for stage in self.points
                    for low, high in [self.interval(stage)]
                },
                "nearer_to_real": {
                    f"{stage} than {other}": self.nearer(stage, other)
                    for stage, other in itertools.combinations(self.points, 2)
                },
            },
            "metrics": named,
        }

    def to_csv(self) -> str:
        """A line for every point and every anchor; an anchor has no temperature, and what is not defined is empty."""
        values = self.to_dict()
        lines = [*values["rows"], *({"stage": name, **row} for name, row in values["anchors"].items())]
        return files.csv_of(lines)


def measure(
    run: Run,
    temperatures: Iterable[float] = DEFAULT,
    *,
    stages: Iterable[str] | None = None,
    samples: int = 1000,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Curves:
    """Measure stages of a run at several temperatures, as `seqgan_music.evaluation.evaluate_run` measures them at 1.

    All temperatures of a stage are drawn from the same random numbers, so that what differs between two of them is the
    temperature.

    Parameters
    ----------
    run : Run
    temperatures : iterable of float
        Divide the logits; below 1 sharpens. 1 is always among them.
    stages : iterable of str, optional
        All there are, if left out.
    samples : int
        Samples of every stage and temperature, and of every made-up anchor.
    seed : int
        Of the samples.
    device : str
        Where the generator samples.
    progress : callable, optional
        Told how many of how many points are drawn.

    Raises
    ------
    UsageError
        A temperature, stage or size that cannot be meant, or a run that was exported.
    """
    from seqgan_music.algorithms.pretraining import negative_log_likelihood

    check_run(run, samples, seed)
    grid = sorted({*temperatures, 1.0})
    for temperature in grid:
        check_narrowing(temperature, 0, 1.0)
    wanted = _stages(run, stages)
    data, tokenizer = run.dataset, run.tokenizer
    objectives = Objectives.of(run)
    near = closeness(data, tokenizer, run.settings["run"]["seed"])
    places = [(stage, temperature) for stage in wanted for temperature in grid]
    sets, beside = {}, {}
    for done, (stage, temperature) in enumerate(places, 1):
        options: dict[str, Any] = {"stage": stage, "temperature": temperature, "device": device}
        sets[f"{stage} {temperature!r}"] = draw(run, samples, seed=seed, **options)
        starts = near.start.repeat(DRAWS)
        drawn = run.sample(len(starts), seed=_another(seed), start=starts, **options)
        generator = run.generator(stage, device)
        where = next(generator.parameters()).device
        tempered = _Tempered(generator, temperature)
        beside[stage, temperature] = {
            "nll": negative_log_likelihood(tempered, data.test.to(where), data.pad_id, limit=len(data.test)),
            DISTANCE: _distance(near, *drawn),
        }
        if progress is not None:
            progress(done, len(places))
    how: dict[str, Any] = {"samples": samples, "seed": seed, "objectives": objectives}
    result = beside_anchors(sets, data, data.test, tokenizer, **how)
    points: dict[str, dict[float, dict[str, float]]] = {stage: {} for stage in wanted}
    for (stage, temperature), name in zip(places, sets, strict=True):
        points[stage][temperature] = result.rows[name] | beside[stage, temperature]
    anchors = {name: values for name, values in result.rows.items() if name not in sets}
    counts = {name: n for name, n in result.facts["samples"].items() if name not in sets}
    facts = result.facts | {
        "samples": {"of every point": samples, **counts},
        "run": str(run.directory),
        "temperatures": grid,
        "best temperature": f"the temperature with the smallest distance_validation: {near.SAID}, mean of {DRAWS} sets "
        f"of {near.size} samples of their own; the test part has no part in it",
        "distance_of_curve_to_real": "of real music's point to the nearest point of the line through a stage's points, "
        f"in the plane of Self-BLEU-4 and BLEU-4; low and high hold 95 % of {RESAMPLINGS} bootstrap resamplings of the "
        "samples and of real windows, nearer_to_real the share of them in which one curve is nearer than another",
    }
    rng = np.random.default_rng(_another(seed))
    real = _resampled_points(result.scores[REAL], rng.spawn(1)[0])
    resampled = {}
    for stage in wanted:
        # The samples of all points come from the same random numbers, and are drawn again together.
        of_each = [
            _resampled_points(result.scores[name], np.random.default_rng(_another(seed)))
            for place, name in zip(places, sets, strict=True)
            if place[0] == stage
        ]
        lines = np.stack(of_each, 1)  # (R, temperatures, 2)
        resampled[stage] = np.array([distance_to_curve(line, at) for line, at in zip(lines, real, strict=True)])
    return Curves(points, anchors, facts, resampled, objectives)


def distance_to_curve(points: ArrayLike, target: ArrayLike) -> float:
    """Distance of a point to the line that joins others in their order.

    Parameters
    ----------
    points : array (P, 2)
        Rows that are not finite are left out; a single one is a line of no length.
    target : array (2,)

    Returns
    -------
    float
        NaN where nothing is left, or the target is not finite.

    Examples
    --------
    >>> distance_to_curve([[0, 0], [2, 0], [2, 9]], [1, 1])
    1.0
    >>> distance_to_curve([[0, 0]], [3, 4])
    5.0
    """
    line, wanted = np.asarray(points, float).reshape(-1, 2), np.asarray(target, float)
    line = line[np.isfinite(line).all(1)]
    if not len(line) or not np.isfinite(wanted).all():
        return math.nan
    first, last = (line[:-1], line[1:]) if len(line) > 1 else (line, line)
    along = last - first
    square = (along**2).sum(1)
    share = np.clip(((wanted - first) * along).sum(1) / np.where(square > 0, square, 1), 0, 1)
    return float(np.linalg.norm(first + share[:, None] * along - wanted, axis=1).min())


class _Tempered(torch.nn.Module):
    """A generator whose logits are divided by a temperature."""

    def __init__(self, generator: Any, temperature: float) -> None:
        super().__init__()
        self.generator, self.temperature, self.vocab_size = generator, temperature, generator.vocab_size

    def forward(self, ids: Tensor, start: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        logits: Tensor = self.generator(ids, start) / self.temperature
        return logits

    def factors(self, ids: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Those of the generator, if it has them, with the temperature in hidden and bias."""
        own = self.generator.factors(ids, start) if hasattr(self.generator, "factors") else None
        if own is None:
            return None
        hidden, weight, bias = own
        return hidden / self.temperature, weight, bias / self.temperature


def _resampled_points(scores: Mapping[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Means in `PLANE` (R, 2) of as many samples drawn with replacement, by their scores; NaN where none is defined."""
    of_each = np.stack([scores[name] for name in PLANE], 1)  # (M, 2)
    times = rng.multinomial(len(of_each), np.full(len(of_each), 1 / len(of_each)), RESAMPLINGS)  # (R, M)
    defined = ~np.isnan(of_each)
    count = times @ defined
    total = times @ np.where(defined, of_each, 0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _distance(near: Closeness, ids: Tensor, start: Tensor) -> float:
    """Mean over the sets that the samples are divided into."""
    sets = zip(ids.split(near.size), start.split(near.size), strict=True)
    return float(np.mean([near.measure(*one)[DISTANCE] for one in sets]))


def _another(seed: int) -> int:
    """A seed whose samples have nothing to do with those of `seed`, nor of its neighbours."""
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _stages(run: Run, wanted: Iterable[str] | None) -> list[str]:
    """Stages in the run's order, each once."""
    there = run.stages
    chosen = set(there if wanted is None else wanted)
    for stage in sorted(chosen - set(there)):
        raise UsageError(f"{run.directory} has no stage {stage!r}; it has: {', '.join(there) or 'none yet'}")
    if not chosen:
        raise UsageError(f"{run.directory} has no trained generator yet; go on with --resume {run.directory}")
    return [stage for stage in there if stage in chosen]
