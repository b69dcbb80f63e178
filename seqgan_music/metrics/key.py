"""In which key is a melody, and how clearly?

Conventions
-----------
Krumhansl and Schmuckler's algorithm: the time that each pitch class sounds is correlated (Pearson) with the profile of
each of the 24 major and minor keys, and the key that correlates best is the melody's. The profiles are listeners'
ratings of how well the twelve pitch classes fit a key: C. L. Krumhansl and E. J. Kessler, "Tracing the dynamic changes
in perceived tonal organization in a spatial representation of musical keys", Psychological Review 89 (1982), 334-368;
printed, with the algorithm, in C. L. Krumhansl, "Cognitive Foundations of Musical Pitch", Oxford 1990, pages 30 and
77-110.

Keys are numbered 0 to 23: the major keys from C to B, then the minor keys from C to B. `UNDEFINED` stands where there
is nothing to find: no notes, or all pitch classes equally long.

Metrics
-------
- `pitch_class_durations`: how long each pitch class sounds.
- `key_correlations`: how well each key fits.
- `find_key`: the best key, and its correlation, the *key clarity*.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

PITCH_CLASSES = 12
UNDEFINED = -1
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
"""Ratings of the pitch classes from the tonic upwards."""
EVEN = 1e-9
"""Of the longest: pitch classes that differ by less from their mean are equally long but for rounding."""


def pitch_class_durations(pitch: ArrayLike, duration: ArrayLike, mask: ArrayLike | None = None) -> NDArray[np.float64]:
    """How long each pitch class sounds.

    Parameters
    ----------
    pitch : array (..., K), int
        MIDI numbers of the notes of one melody or of a batch.
    duration : array (..., K)
        In any unit, 0 or more.
    mask : array (..., K), bool, optional
        False where there is no note.

    Returns
    -------
    ndarray (..., 12)
        From C to B, in the unit of `duration`.

    Raises
    ------
    ValueError
        If the shapes differ, pitches are not integers, or a duration is negative or not finite.

    Examples
    --------
    >>> pitch_class_durations([60, 64, 72], [1.0, 2.0, 0.5])[[0, 4]].tolist()
    [1.5, 2.0]
    """
    pitch, duration = np.asarray(pitch), np.asarray(duration, dtype=np.float64)
    mask = np.ones(pitch.shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if not pitch.ndim or not pitch.shape == duration.shape == mask.shape:
        raise ValueError(f"expected arrays of one shape (..., K), not {pitch.shape}, {duration.shape}, {mask.shape}")
    if pitch.size and pitch.dtype.kind not in "iu":
        raise ValueError(f"pitches are integers, not {pitch.dtype}")
    if not (np.isfinite(duration[mask]) & (duration[mask] >= 0)).all():
        raise ValueError("durations are finite and not negative")
    batch = pitch.shape[:-1]
    rows = np.broadcast_to(np.arange(int(np.prod(batch))).reshape(*batch, 1), pitch.shape)
    cells = rows[mask] * PITCH_CLASSES + pitch[mask].astype(np.int64) % PITCH_CLASSES
    size = int(np.prod(batch)) * PITCH_CLASSES
    return np.bincount(cells, duration[mask], size).astype(np.float64).reshape(*batch, PITCH_CLASSES)


def key_correlations(durations: ArrayLike) -> NDArray[np.float64]:
    """Correlation with the profile of every key.

    Parameters
    ----------
    durations : array (..., 12)
        How long each pitch class sounds, from C to B.

    Returns
    -------
    ndarray (..., 24)
        From -1 to 1, by number of the key; NaN where all pitch classes are equally long, or none sounds.

    Raises
    ------
    ValueError
        If there are not twelve, or one is negative or not finite.
    """
    durations = np.asarray(durations, dtype=np.float64)
    if durations.shape[-1:] != (PITCH_CLASSES,) or not (np.isfinite(durations) & (durations >= 0)).all():
        raise ValueError(f"expected twelve durations a melody, finite and not negative, not {durations.shape}")
    # Every melody is divided by its longest first, which changes no correlation and keeps squares from overflowing.
    longest = durations.max(-1, keepdims=True)
    shares = np.divide(durations, longest, out=np.zeros_like(durations), where=longest > 0)
    deviation = shares - shares.mean(-1, keepdims=True)
    even = (np.abs(deviation) <= EVEN).all(-1, keepdims=True)
    norm = np.where(even, np.nan, np.linalg.norm(deviation, axis=-1, keepdims=True))
    found: NDArray[np.float64] = np.clip(deviation @ _PROFILES.T / norm, -1.0, 1.0)
    return found


def find_key(durations: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The key that fits best, and how well it fits.

    Parameters
    ----------
    durations : array (..., 12)
        How long each pitch class sounds, from C to B.

    Returns
    -------
    key : ndarray (...), int64
        Number of the key, `UNDEFINED` where there is none. Of keys that fit equally well the one with the smallest.
    clarity : ndarray (...)
        Its correlation, from -1 to 1; NaN where there is no key.

    Raises
    ------
    ValueError
        As `key_correlations`.

    Examples
    --------
    >>> key, clarity = find_key([2, 0, 1, 0, 1, 1, 0, 2, 0, 1, 0, 1])
    >>> int(key), round(float(clarity), 2)
    (0, 0.93)
    """
    correlations = key_correlations(durations)
    clarity = correlations.max(-1)
    key = np.where(np.isnan(clarity), UNDEFINED, correlations.argmax(-1))
    return key.astype(np.int64), clarity


def _profiles() -> NDArray[np.float64]:
    """The profiles of the 24 keys (24, 12), each with mean 0 and length 1."""
    rows = np.array([np.roll(profile, tonic) for profile in (MAJOR, MINOR) for tonic in range(PITCH_CLASSES)])
    rows -= rows.mean(1, keepdims=True)
    unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


_PROFILES: NDArray[Any] = _profiles()
