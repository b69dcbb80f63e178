"""How far are the pitch curves of the samples from those of real music?

Conventions
-----------
The mean squared error stands in SeqGAN's music experiment (Yu et al., AAAI 2017, Table 4), which does not say what it
is taken between. Here it is taken on the grid, one pitch a step, in semitones²: held notes are expanded, and a rest
carries the last pitch, as does everything else that has no pitch of its own; steps before the first note take the first
pitch. For either figure the target is the value of held-out real music, *not the lowest*: a sample that holds the mean
pitch throughout is nearer to the references than real tunes are.

A melody without any pitch has no curve: its row is NaN, which makes NaN of its figure as a sample and is left out as a
reference.

Metrics
-------
- `fill_rests`: grid steps to pitch curves.
- `nearest_mse`: to the nearest reference.
- `pairs_mse`: to all references.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqgan_music.notes import OUTSIDE

BLOCK = 1 << 22
"""Sample-reference distances held in memory at a time."""


def fill_rests(steps: NDArray[Any]) -> NDArray[np.float64]:
    """A pitch for every grid step.

    Parameters
    ----------
    steps : ndarray (B, S), int
        As `Melodies.steps`: MIDI numbers, or `REST`, `HELD` or `OUTSIDE`.

    Returns
    -------
    ndarray (B, S)
        MIDI numbers: a step without a pitch has the last one before it, or the first of the melody where none came
        before. A row of NaN where a melody has no pitch at all.

    Raises
    ------
    ValueError
        If `steps` is not a two-dimensional array of integers from `OUTSIDE` to 127.

    Examples
    --------
    >>> fill_rests(np.array([[-2, 60, -1, 62, -3], [-1, -1, -1, -3, -3]])).tolist()
    [[60.0, 60.0, 60.0, 62.0, 62.0], [nan, nan, nan, nan, nan]]
    """
    steps = np.asarray(steps)
    if steps.ndim != 2 or steps.dtype.kind not in "iu":
        raise ValueError(f"expected integers (B, S), not {steps.dtype} {steps.shape}")
    if steps.size and (steps.min() < OUTSIDE or steps.max() > 127):
        raise ValueError("a grid step is a MIDI number (0 to 127), REST, HELD or OUTSIDE")
    if not steps.shape[1]:
        return np.zeros(steps.shape)
    pitched = steps >= 0
    first = pitched.argmax(axis=1)
    source = np.maximum.accumulate(np.where(pitched, np.arange(steps.shape[1]), first[:, None]), axis=1)
    curves = np.take_along_axis(steps, source, axis=1).astype(np.float64)
    curves[~pitched.any(axis=1)] = np.nan
    return curves


def nearest_mse(samples: ArrayLike, references: ArrayLike) -> NDArray[np.float64]:
    """Smallest mean squared pitch difference of each sample to any reference.

    Parameters
    ----------
    samples : array (B, S)
        Pitch curves in MIDI numbers, as `fill_rests` gives them.
    references : array (R, S)
        Likewise; rows of NaN are left out.

    Returns
    -------
    ndarray (B,)
        In semitones². NaN for a sample without a pitch, and for all where no reference has one.

    Raises
    ------
    ValueError
        If the two have different numbers of steps or none, or are not two-dimensional, or a pitch is negative or
        infinite, or a row is NaN in part.

    Examples
    --------
    >>> nearest_mse([[60, 62], [60, 61]], [[60, 62], [72, 72]]).tolist()
    [0.0, 0.5]
    """
    curves, known = _curves(samples, references)
    if not len(known):
        return np.full(len(curves), np.nan)
    # Around a common pitch the squares are small. Whole pitches stay whole, so that equal curves differ by exactly 0.
    centre = np.rint(known.mean())
    curves, known = curves - centre, known - centre
    squares = np.einsum("rs,rs->r", known, known)
    nearest = np.empty(len(curves))
    rows = max(BLOCK // len(known), 1)
    for start in range(0, len(curves), rows):
        block = curves[start : start + rows]
        # |a - b|² = |a|² + (|b|² - 2ab), and |a|² is the same for every reference.
        closest = (squares - 2 * (block @ known.T)).min(axis=1)
        nearest[start : start + rows] = closest + np.einsum("bs,bs->b", block, block)
    result: NDArray[np.float64] = np.maximum(nearest, 0) / curves.shape[1]
    return result


def pairs_mse(samples: ArrayLike, references: ArrayLike) -> NDArray[np.float64]:
    """Mean squared pitch difference of each sample to all references.

    In closed form: at each step the mean over the references of (a - b)² is the squared distance of a from their mean
    plus their variance.

    Parameters
    ----------
    samples : array (B, S)
        Pitch curves in MIDI numbers, as `fill_rests` gives them.
    references : array (R, S)
        Likewise; rows of NaN are left out.

    Returns
    -------
    ndarray (B,)
        In semitones². NaN for a sample without a pitch, and for all where no reference has one.

    Raises
    ------
    ValueError
        If the two have different numbers of steps or none, or are not two-dimensional, or a pitch is negative or
        infinite, or a row is NaN in part.

    Examples
    --------
    >>> pairs_mse([[60, 62]], [[60, 62], [62, 64]]).tolist()
    [2.0]
    """
    curves, known = _curves(samples, references)
    if not len(known):
        return np.full(len(curves), np.nan)
    result: NDArray[np.float64] = ((curves - known.mean(axis=0)) ** 2 + known.var(axis=0)).mean(axis=1)
    return result


def _curves(samples: ArrayLike, references: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as checked float arrays, the references without those that have no pitch."""
    curves, known = np.asarray(samples, dtype=np.float64), np.asarray(references, dtype=np.float64)
    if curves.ndim != 2 or known.ndim != 2 or curves.shape[1] != known.shape[1]:
        raise ValueError(f"expected samples (B, S) and references (R, S), not {curves.shape} and {known.shape}")
    if not curves.shape[1]:
        raise ValueError("pitch curves need at least one grid step")
    for rows in (curves, known):
        if (rows < 0).any() or np.isinf(rows).any():
            raise ValueError("a pitch is neither negative nor infinite; rests are to be filled first (fill_rests)")
        missing = np.isnan(rows)
        if (missing.any(axis=1) != missing.all(axis=1)).any():
            raise ValueError("a melody without a pitch is NaN throughout, not in part")
    return curves, known[~np.isnan(known[:, 0])]
