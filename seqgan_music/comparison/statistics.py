"""Are two sets of numbers different by more than chance?

T-tests come from SciPy; Holm's correction, which SciPy lacks, is written here. Where a test is not defined, because
there are too few numbers or no spread among them, everything it gives is NaN.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95
ROUNDING = 1e-12  # a spread this small beside the numbers themselves is none


@dataclass(frozen=True, slots=True)
class TTest:
    """What a t-test of a against b gives.

    Parameters
    ----------
    n : (int, int)
        Numbers in a and in b, those that are NaN left out; of a paired test the pairs, twice.
    difference : float
        mean(a) − mean(b).
    low, high : float
        Its 95 % confidence interval.
    t, df : float
        Statistic and degrees of freedom.
    p : float
        Two-sided.
    """

    n: tuple[int, int]
    difference: float
    low: float = math.nan
    high: float = math.nan
    t: float = math.nan
    df: float = math.nan
    p: float = math.nan


def welch(a: np.ndarray, b: np.ndarray) -> TTest:
    """Welch's t-test, which does not take the two spreads for equal (Welch 1947).

    Parameters
    ----------
    a, b : ndarray (n,), (m,)
        Independent of each other. A NaN is left out.
    """
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    n = (len(a), len(b))
    if not min(n):
        return TTest(n, math.nan)
    difference = float(a.mean() - b.mean())
    if min(n) < 2 or (_constant(a) and _constant(b)):
        return TTest(n, difference)
    from scipy import stats

    return _result(n, difference, lambda: stats.ttest_ind(a, b, equal_var=False))


def paired(a: np.ndarray, b: np.ndarray) -> TTest:
    """Student's t-test of the differences a − b.

    Parameters
    ----------
    a, b : ndarray (n,)
        Numbers at the same place belong together. A pair with a NaN is left out.

    Raises
    ------
    ValueError
        Not equally many.
    """
    if a.shape != b.shape:
        raise ValueError(f"pairs need equally many numbers on both sides, not {len(a)} and {len(b)}")
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    n = (len(a), len(b))
    if not len(a):
        return TTest(n, math.nan)
    difference = float((a - b).mean())
    if len(a) < 2 or np.ptp(a - b) <= ROUNDING * max(np.abs(a).max(), np.abs(b).max()):
        return TTest(n, difference)
    from scipy import stats

    return _result(n, difference, lambda: stats.ttest_rel(a, b))


def holm(p: Sequence[float]) -> np.ndarray:
    """P-values corrected for being many: the chance that any of a family is below a threshold by luck is at most that.

    Holm, A simple sequentially rejective multiple test procedure, 1979, in its form of adjusted values: the smallest of
    m is multiplied by m, the next by m − 1, and so on; none is above 1 or below the one before it.

    Parameters
    ----------
    p : sequence of float (m,)
        One family. A NaN is no member of it and stays NaN.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=float)
    adjusted = np.full(len(values), math.nan)
    members = np.flatnonzero(np.isfinite(values))
    order = members[np.argsort(values[members], kind="stable")]
    weighted = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(weighted))
    return adjusted


def _constant(values: np.ndarray) -> bool:
    return bool(np.ptp(values) <= ROUNDING * np.abs(values).max())


def _result(n: tuple[int, int], difference: float, test: Any) -> TTest:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that one of the two sets has no spread is no mistake
        found = test()
        interval = found.confidence_interval(CONFIDENCE)
    return TTest(
        n,
        difference,
        float(interval.low),
        float(interval.high),
        float(found.statistic),
        float(found.df),
        float(found.pvalue),
    )
