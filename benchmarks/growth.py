"""How the time of the textbook and of the program grows with each size alone."""

from __future__ import annotations

import math
import statistics
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from competitors import COMPETITORS, PROGRAM, TEXTBOOK, Race, Sizes

BATCHES = 4  # of D's timed epoch: their number stays, so that its time grows with B


@dataclass(frozen=True)
class Point:
    """The sizes that grow: from a middle point each is doubled alone."""

    T: int = 16
    N: int = 4
    B: int = 32
    V: int = 512
    H: int = 64

    def sizes(self) -> Sizes:
        batches = {"batch_size": self.B, "policy_batch_size": self.B}
        return Sizes(
            self.V,
            self.T,
            {"embedding": self.H, "hidden": self.H},
            {"filters": "small"},  # the same for every T
            algorithm={**batches, "rollouts": self.N},
            sequences=BATCHES * self.B,
        )


MEANS = {"T": "length", "N": "roll-outs", "B": "batch", "V": "vocabulary", "H": "width of the LSTM"}
DEPENDS = {"generator step": "TNBVH", "epoch of D": "TBV"}


def growth(
    doublings: int, repeats: int, arithmetic: str = "float32", processor: bool = False, middle: Point | None = None
) -> dict[str, Any]:
    """Median seconds of a generator step and of an epoch of D where one size is doubled, and exponents fitted to them.

    Returns
    -------
    dict
        Of each part, by size: ``values``, and of each competitor ``seconds``, the ``exponent`` p of seconds ∝ sizeᵖ
        (least squares on logarithms) and ``residual``, the root of the mean square by which the logarithms miss.
    """
    middle = middle or Point()
    parts: dict[str, Any] = {part: {} for part in DEPENDS}
    for name in MEANS:
        values = [getattr(middle, name) << doubling for doubling in range(doublings + 1)]
        print(f"growth with {name} ...", file=sys.stderr, flush=True)
        measured = [
            _seconds(Point(**{**vars(middle), name: value}), repeats, arithmetic, processor) for value in values
        ]
        for part in (part for part, sizes in DEPENDS.items() if name in sizes):
            parts[part][name] = {"values": values}
            for who in COMPETITORS:
                seconds = [point[part][who] for point in measured]
                parts[part][name][who] = {"seconds": seconds, **fit(values, seconds)}
    return {"middle": vars(middle), "parts": parts}


def fit(values: list[int], seconds: list[float]) -> dict[str, float]:
    """Exponent of a power law by least squares on logarithms, and by how much they miss it."""
    x, y = np.log(values), np.log(seconds)
    slope, constant = np.polyfit(x, y, 1)
    return {"exponent": float(slope), "residual": math.sqrt(float(np.mean((y - constant - slope * x) ** 2)))}


def _seconds(point: Point, repeats: int, arithmetic: str, processor: bool) -> dict[str, dict[str, float]]:
    track = Race(point.sizes(), point.N, arithmetic=arithmetic, processor=processor)
    track.run_alone(PROGRAM)  # the first time, everything is slow
    track.run_alone(TEXTBOOK)
    laps = [track.generator_step() | track.epoch() for _ in range(repeats)]
    return {part: {who: statistics.median(lap[part][who] for lap in laps) for who in COMPETITORS} for part in DEPENDS}


def describe(result: dict[str, Any]) -> str:
    """Exponents as a table: seconds grow with a size to this power."""
    middle = ", ".join(f"{name} {value}" for name, value in result["middle"].items())
    lines = [
        f"growth from {middle}, each doubled alone; seconds grow with a size to the power of",
        f"{'':48} {'textbook':>10} {'program':>10}   residuals",
    ]
    for part, sizes in result["parts"].items():
        for name, found in sizes.items():
            label = f"{part}, {name} ({MEANS[name]}) {found['values'][0]} - {found['values'][-1]}"
            exponents = " ".join(f"{found[who]['exponent']:10.2f}" for who in COMPETITORS)
            residuals = ", ".join(f"{found[who]['residual']:.0%}" for who in COMPETITORS)
            lines.append(f"{label:48} {exponents}   {residuals}")
    return "\n".join(lines)
