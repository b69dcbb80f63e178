"""Is it in a key, in time, and does it come back to anything?

Conventions
-----------
The first five are those of MusPy (Dong et al., ISMIR 2020), of one melody each. Where its release 0.5.0 does not do
what its page says, the page is followed here, and the difference is stated. Rhythm is read on the grid: what sounds in
each step, and where a note begins (`seqgan_music.metrics.events`). Bars and beats are counted from the first step; only
whole ones before the melody's end are taken. For all of them the target is the value of real music.

Metrics
-------
- `pitch_class_entropy`, `scale_consistency`: how the notes spread over the twelve pitch classes.
- `groove_consistency`, `empty_beat_rate`: rhythm from bar to bar, and silence.
- `polyphony`: how many notes sound at once.
- `bars_back`: how many bars are an earlier bar again; not in MusPy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqgan_music.metrics.key import PITCH_CLASSES
from seqgan_music.metrics.sequences import IntArray
from seqgan_music.notes import OUTSIDE, REST

MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)


def pitch_class_entropy(pitch: ArrayLike, mask: ArrayLike) -> NDArray[np.float64]:
    """Shannon entropy of the shares of the pitch classes among the notes.

    MusPy's ``pitch_class_entropy``, after Wu and Yang (ISMIR 2020): notes are counted, however long.

    Parameters
    ----------
    pitch : array (B, K), int
        MIDI numbers.
    mask : array (B, K), bool
        False where there is no note.

    Returns
    -------
    ndarray (B,)
        In bits, 0 (one pitch class) to log₂ 12; NaN without a note.

    Examples
    --------
    >>> pitch_class_entropy([[60, 72, 67, 67]], [[True, True, True, True]]).tolist()
    [1.0]
    """
    counts = _class_counts(pitch, mask)
    share = _share(counts, counts.sum(axis=1)[:, None])
    terms = np.where(share > 0, share * np.log2(np.where(share > 0, share, 1)), 0)
    return np.where(np.isnan(share[:, 0]), np.nan, 0.0 - terms.sum(axis=1))


def scale_consistency(pitch: ArrayLike, mask: ArrayLike) -> NDArray[np.float64]:
    """Share of the notes that lie in the scale which holds most of them.

    MusPy's ``scale_consistency``: over all major and natural minor scales, which are the same twelve sets of pitches.

    Parameters
    ----------
    pitch : array (B, K), int
        MIDI numbers.
    mask : array (B, K), bool
        False where there is no note.

    Returns
    -------
    ndarray (B,)
        7/12 or more for an even spread, to 1; NaN without a note.

    Examples
    --------
    >>> scale_consistency([[60, 62, 64, 61]], [[True, True, True, True]]).tolist()
    [0.75]
    """
    scales = np.zeros((PITCH_CLASSES, PITCH_CLASSES), dtype=np.int64)
    for tonic in range(PITCH_CLASSES):
        scales[tonic, [(tonic + degree) % PITCH_CLASSES for degree in MAJOR_SCALE]] = 1
    counts = _class_counts(pitch, mask)
    return _share((counts @ scales.T).max(axis=1), counts.sum(axis=1))


def groove_consistency(steps: ArrayLike, struck: ArrayLike, bar: ArrayLike) -> NDArray[np.float64]:
    """How alike neighbouring bars are in where notes begin.

    1 less the mean share of the steps of a bar in which exactly one of two neighbouring bars has an onset: MusPy's
    ``groove_consistency``, after Wu and Yang (ISMIR 2020). MusPy 0.5.0 counts one bar too many, ``length // bar + 1``:
    a melody of a whole number of bars is compared with an empty bar after its end, too.

    Parameters
    ----------
    steps : array (B, S), int
        What sounds, as `Melodies.steps`; the melody ends at the first `OUTSIDE`.
    struck : array (B, S), bool
        Where a note begins.
    bar : array (B,)
        Grid steps in a bar of each melody.

    Returns
    -------
    ndarray (B,)
        In [0, 1]; NaN for fewer than two whole bars, and where a bar is no whole number of steps.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a bar is not longer than 0.

    Examples
    --------
    >>> steps = np.full((1, 6), 60)
    >>> struck = np.array([[True, False, True, True, False, False]])
    >>> groove_consistency(steps, struck, [3]).round(3).tolist()  # they differ in one of three steps
    [0.667]
    """
    steps, struck, bars = _grid(steps, struck, bar)
    found = np.full(len(steps), np.nan)
    for rows, size, whole in _units(steps, bars):
        cut = _cut(struck[rows], size)
        differ = (cut[:, 1:] != cut[:, :-1]).sum(axis=2) * whole[:, 1:]
        found[rows] = 1 - _share(differ.sum(axis=1), size * (whole.sum(axis=1) - 1))
    return found


def empty_beat_rate(steps: ArrayLike, beat: ArrayLike) -> NDArray[np.float64]:
    """Share of the beats in which nothing sounds.

    MusPy's ``empty_beat_rate``. A beat is a quarter note there and here, in any metre. MusPy 0.5.0 counts one beat too
    many, ``length // beat + 1``, and takes a beat for filled at whose first instant a note ends.

    Parameters
    ----------
    steps : array (B, S), int
        What sounds, as `Melodies.steps`; the melody ends at the first `OUTSIDE`.
    beat : array (B,)
        Grid steps in a beat of each melody.

    Returns
    -------
    ndarray (B,)
        In [0, 1]; NaN without a whole beat, and where a beat is no whole number of steps.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a beat is not longer than 0.

    Examples
    --------
    >>> empty_beat_rate(np.array([[60, -1, -1, -1, 62, 62, -3, -3]]), [2]).round(3).tolist()
    [0.333]
    """
    steps = np.asarray(steps)
    steps, _, beats = _grid(steps, np.zeros(steps.shape, dtype=bool), beat)
    found = np.full(len(steps), np.nan)
    for rows, size, whole in _units(steps, beats):
        cut = _cut(steps[rows], size)
        empty = (cut == REST).all(axis=2) & whole
        found[rows] = _share(empty.sum(axis=1), whole.sum(axis=1))
    return found


def polyphony(onset: ArrayLike, duration: ArrayLike, mask: ArrayLike) -> NDArray[np.float64]:
    """Mean number of notes that sound at once, over the time in which any does.

    MusPy's ``polyphony``, in continuous time: the durations of all notes over the length of their union. MusPy counts
    pitches, so that a pitch that two voices have is one there and two here. A melody has 1: more says that a tokenizer
    of several voices is used.

    Parameters
    ----------
    onset, duration : array (B, K)
        In any unit; onsets in their order.
    mask : array (B, K), bool
        False where there is no note.

    Returns
    -------
    ndarray (B,)
        1 or more; NaN where nothing sounds.

    Examples
    --------
    >>> polyphony([[0.0, 1.0, 4.0]], [[2.0, 2.0, 1.0]], [[True, True, True]]).tolist()
    [1.25]
    """
    mask = np.asarray(mask, dtype=bool)
    start = np.where(mask, onset, 0.0)
    length = np.where(mask, duration, 0.0)
    if start.ndim != 2 or start.shape != length.shape:
        raise ValueError(f"expected onset, duration and mask (B, K), not {start.shape}, {length.shape}, {mask.shape}")
    end = start + length
    until = np.maximum.accumulate(end, axis=1)
    before = np.concatenate([np.zeros((len(end), 1)), until], axis=1)[:, : end.shape[1]]
    union = np.where(mask, np.maximum(end - np.maximum(start, before), 0), 0).sum(axis=1)
    return _share(length.sum(axis=1), union)


def bars_back(steps: ArrayLike, struck: ArrayLike, bar: ArrayLike) -> NDArray[np.float64]:
    """Share of the whole bars after the first that are an earlier bar again, step for step.

    Two bars are the same if in every step the same sounds, and a note begins in the same steps.

    Parameters
    ----------
    steps : array (B, S), int
        What sounds, as `Melodies.steps`; the melody ends at the first `OUTSIDE`.
    struck : array (B, S), bool
        Where a note begins.
    bar : array (B,)
        Grid steps in a bar of each melody.

    Returns
    -------
    ndarray (B,)
        In [0, 1]; NaN for fewer than two whole bars, and where a bar is no whole number of steps.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a bar is not longer than 0.

    Examples
    --------
    >>> steps = np.array([[60, 62, 64, 64, 60, 62]])
    >>> bars_back(steps, np.ones((1, 6), dtype=bool), [2]).tolist()  # the third is the first again
    [0.5]
    """
    steps, struck, bars = _grid(steps, struck, bar)
    both = steps.astype(np.int64) * 2 + struck
    found = np.full(len(steps), np.nan)
    for rows, size, whole in _units(steps, bars):
        cut = _cut(both[rows], size)
        again = np.zeros(whole.shape, dtype=bool)
        for i in range(1, whole.shape[1]):
            again[:, i] = (cut[:, :i] == cut[:, i : i + 1]).all(axis=2).any(axis=1)
        found[rows] = _share((again & whole).sum(axis=1), whole.sum(axis=1) - 1)
    return found


def _class_counts(pitch: ArrayLike, mask: ArrayLike) -> IntArray:
    """Notes of each pitch class (B, 12)."""
    pitches, there = np.asarray(pitch), np.asarray(mask, dtype=bool)
    if pitches.ndim != 2 or pitches.shape != there.shape:
        raise ValueError(f"expected pitch and mask (B, K), not {pitches.shape} and {there.shape}")
    rows = np.broadcast_to(np.arange(len(pitches))[:, None], pitches.shape)
    cells = (rows * PITCH_CLASSES + pitches % PITCH_CLASSES)[there]
    return np.bincount(cells, minlength=len(pitches) * PITCH_CLASSES).reshape(-1, PITCH_CLASSES)


def _share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """One over the other; NaN where the other is not more than 0."""
    return np.asarray(part, dtype=np.float64) / np.where(whole > 0, whole, np.nan)


def _grid(steps: ArrayLike, struck: ArrayLike, unit: ArrayLike) -> tuple[IntArray, NDArray[np.bool_], Any]:
    grid, onsets, units = np.asarray(steps), np.asarray(struck, dtype=bool), np.asarray(unit, dtype=np.float64)
    if grid.ndim != 2 or grid.shape != onsets.shape or units.shape != grid.shape[:1]:
        raise ValueError(
            f"expected steps and struck (B, S) and one length for each, not {grid.shape}, {onsets.shape}, {units.shape}"
        )
    if not (units > 0).all():
        raise ValueError("bars and beats are longer than 0")
    return grid, onsets, units


def _units(steps: IntArray, units: NDArray[np.float64]) -> Iterator[tuple[IntArray, int, NDArray[np.bool_]]]:
    """Rows whose bars or beats are equally long, their length, and which of them are whole (rows, bars)."""
    outside = steps == OUTSIDE
    length = np.where(outside.any(axis=1), outside.argmax(axis=1), steps.shape[1])
    for unit in np.unique(units[units == np.rint(units)]):
        size = int(unit)
        rows = np.flatnonzero(units == unit)
        yield rows, size, np.arange(steps.shape[1] // size) < (length[rows] // size)[:, None]


def _cut(grid: NDArray[Any], size: int) -> NDArray[Any]:
    """Bars or beats (rows, n, size) of a grid (rows, S); what is left over at its end is dropped."""
    number = grid.shape[1] // size
    return grid[:, : number * size].reshape(len(grid), number, size)
