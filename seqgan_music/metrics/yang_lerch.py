"""Do the samples have the same musical features, as spread, as real music?

Conventions
-----------
Features and comparison are those of Yang and Lerch, "On the evaluation of generative models in music", Neural Computing
and Applications 32 (2020), sections 4.1 and 4.2. The features are taken from note events
(`seqgan_music.metrics.events`): notes are what counts, rests are none, and time is in quarter notes. For each feature
the Euclidean distances of all pairs *within* the real set (intra-set) and of all pairs of a sample and a real melody
(inter-set) are two distributions; if the samples might as well be real, the two are one. They are compared by the area
under the lower of the two densities (overlap area, 1 if equal) and by the Kullback-Leibler divergence of inter from
intra (nats, 0 if equal).

Where the paper or its program leaves a choice, or chooses differently:

- Histograms and matrices are shares (they sum to 1), so that they do not say again how many notes there are.
- Both densities are kernel estimates on *one* grid and with *one* bandwidth, by Scott's rule from the intra-set
  distances, with the number of real melodies for n: the pairs are many, but they are pairs of the same melodies. A
  bandwidth of its own for each would count as a difference what is not one, on features that are whole numbers above
  all. The kernel is cut off at five bandwidths.
- The divergence is taken after mixing a share of 1e-6 of a uniform distribution into both: where samples never are it
  would be infinite, or as large as the arithmetic allows.
- A feature whose intra-set distances are all equal has no density. The comparison is then exact: the overlap area is
  the share of inter-set distances that are equal to them too, and the divergence minus the logarithm of that share,
  mixed likewise.
- A melody for which a feature is not defined (the mean interval of one note) is left out for that feature.

Metrics
-------
- `features`: the nine features of each melody.
- `compare`: overlap area and divergence of one feature.
- `vectors`: seven of the features as one vector, for `seqgan_music.metrics.frechet`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqgan_music.metrics.events import event_notes
from seqgan_music.metrics.key import PITCH_CLASSES
from seqgan_music.metrics.sequences import IntArray, SequencesLike

FEATURES = (
    "pitch_count",
    "pitch_class_histogram",
    "pitch_range",
    "pitch_interval",
    "note_count",
    "inter_onset_interval",
    "note_length_histogram",
    "pitch_class_transitions",
    "note_length_transitions",
)
NOTE_LENGTHS = (4, 2, 1, 1 / 2, 1 / 4, 3, 3 / 2, 3 / 4, 3 / 8, 4 / 3, 2 / 3, 1 / 3)
"""In quarter notes: whole to sixteenth, the same dotted but for the whole, and triplets of half, quarter and eighth."""
VECTOR = FEATURES[:7]
"""What `vectors` puts side by side, 29 numbers: all features but the matrices."""
POINTS_PER_BANDWIDTH = 8
KERNEL = 5
"""Bandwidths at which the kernel is cut off."""
MOST_POINTS = 1 << 16
UNIFORM_SHARE = 1e-6


def features(events: SequencesLike, steps_per_quarter: float) -> dict[str, NDArray[np.float64]]:
    """The nine features of each melody.

    Parameters
    ----------
    events : Sequences, ndarray (B, K) or sequence of sequences of int
        Note events.
    steps_per_quarter : float
        Grid steps in a quarter note, more than 0.

    Returns
    -------
    dict of str to ndarray (B, d)
        By the names of `FEATURES`:

        - ``pitch_count``: different pitches (d = 1).
        - ``pitch_class_histogram``: share of the notes in each pitch class, C to B (d = 12).
        - ``pitch_range``: highest less lowest pitch, semitones (d = 1).
        - ``pitch_interval``: mean size of the intervals between successive notes, semitones, across rests too (d = 1).
        - ``note_count``: notes (d = 1).
        - ``inter_onset_interval``: mean time from a note's onset to the next one's, quarter notes (d = 1).
        - ``note_length_histogram``: share of the notes nearest to each of `NOTE_LENGTHS`, of two equally near ones the
          first (d = 12).
        - ``pitch_class_transitions``: share of the pairs of successive notes in each pair of pitch classes (d = 144).
        - ``note_length_transitions``: likewise of note lengths (d = 144).

        NaN where there is nothing to take it of: no note, or for the means and transitions no two.

    Raises
    ------
    ValueError
        If an integer is no event, or `steps_per_quarter` is not more than 0.
    """
    if not steps_per_quarter > 0:
        raise ValueError(f"steps_per_quarter must be more than 0, not {steps_per_quarter}")
    pitch, onset, duration, mask = event_notes(events)
    count = mask.sum(axis=1)
    pairs = mask[:, 1:]  # notes come first in their row, so that the note before a note is one, too
    classes = pitch % PITCH_CLASSES
    away = np.abs(duration[..., None] / steps_per_quarter - np.array(NOTE_LENGTHS))
    lengths = away.argmin(axis=-1)
    size = len(NOTE_LENGTHS)

    ordered = np.sort(np.where(mask, pitch, -1), axis=1)
    fresh = (np.diff(ordered, axis=1, prepend=-1) > 0) & (ordered >= 0)
    highest = np.where(mask, pitch, -1).max(axis=1, initial=-1)
    lowest = np.where(mask, pitch, 128).min(axis=1, initial=128)
    intervals = np.where(pairs, np.abs(np.diff(pitch, axis=1)), 0)
    last = onset[np.arange(len(onset)), np.maximum(count - 1, 0)] if onset.shape[1] else np.zeros(len(onset))
    first = onset[:, 0] if onset.shape[1] else np.zeros(len(onset))
    return {
        "pitch_count": _over(fresh.sum(axis=1)[:, None], np.minimum(count, 1)),
        "pitch_class_histogram": _over(_histogram(classes, mask, PITCH_CLASSES), count),
        "pitch_range": _over((highest - lowest)[:, None], np.minimum(count, 1)),
        "pitch_interval": _over(intervals.sum(axis=1)[:, None], count - 1),
        "note_count": count[:, None].astype(np.float64),
        "inter_onset_interval": _over((last - first)[:, None] / steps_per_quarter, count - 1),
        "note_length_histogram": _over(_histogram(lengths, mask, size), count),
        "pitch_class_transitions": _over(_transitions(classes, pairs, PITCH_CLASSES), count - 1),
        "note_length_transitions": _over(_transitions(lengths, pairs, size), count - 1),
    }


def vectors(named: dict[str, NDArray[np.float64]], references: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The features of `VECTOR` side by side: what the Fréchet distance is taken of.

    Each feature is moved by its mean over the references and divided by its spread among them, the root of the summed
    variances of its columns: each counts as much as any other. The columns of a histogram share one spread, since one
    of their own would make a note length that hardly any reference has the most important of all.

    Parameters
    ----------
    named : dict of str to ndarray (B, d)
        As `features` gives them.
    references : dict of str to ndarray (R, d)
        Likewise, of real melodies.

    Returns
    -------
    ndarray (B, 29)
        A feature that does not vary among the references keeps its own unit; NaN where it is not defined, and
        throughout for one that is defined for no reference.
    """
    found = []
    for name in VECTOR:
        known = references[name][~np.isnan(references[name]).any(axis=1)]
        if len(known):
            mean, spread = known.mean(axis=0), float(np.sqrt(known.var(axis=0).sum()))
            found.append((named[name] - mean) / (spread if spread > 1e-9 * max(1, np.abs(mean).max()) else 1))
        else:
            found.append(np.full(named[name].shape, np.nan))
    return np.concatenate(found, axis=1)


class Comparison(NamedTuple):
    """How alike intra-set and inter-set distances are.

    Parameters
    ----------
    overlap_area : float
        0 (nothing in common) to 1.
    kl_divergence : float
        In nats, 0 or more.
    """

    overlap_area: float
    kl_divergence: float


def compare(samples: ArrayLike, references: ArrayLike) -> Comparison:
    """Overlap area and divergence of one feature.

    Parameters
    ----------
    samples : array (M, d)
    references : array (R, d)
        The feature of real melodies.

    Returns
    -------
    Comparison
        NaN where there are no samples, or fewer than two references, for which the feature is defined.

    Raises
    ------
    ValueError
        If the arrays are not two-dimensional with equally many columns.

    Examples
    --------
    >>> compare([[1.0], [2.0], [2.0]], [[1.0], [1.0], [1.0]]).overlap_area  # constant among the references
    0.3333333333333333
    """
    made, real = np.asarray(samples, dtype=np.float64), np.asarray(references, dtype=np.float64)
    if made.ndim != 2 or real.ndim != 2 or made.shape[1] != real.shape[1]:
        raise ValueError(f"expected a feature (M, d) and (R, d), not {made.shape} and {real.shape}")
    made, real = (rows[~np.isnan(rows).any(axis=1)] for rows in (made, real))
    if not len(made) or len(real) < 2:
        return Comparison(float("nan"), float("nan"))
    intra = _distances(real, real)[np.tril_indices(len(real), -1)]
    inter = _distances(made, real).ravel()
    largest = max(intra.max(), inter.max())
    if np.ptp(intra) <= 1e-9 * largest:
        p, q = np.array([1.0, 0.0]), np.array([0.0, 1.0])
        q[0] = np.mean(np.abs(inter - intra[0]) <= 1e-9 * largest)
        q[1] -= q[0]
    else:
        bandwidth = float(intra.std(ddof=1)) * len(real) ** -0.2
        p, q = _densities(intra, inter, bandwidth)
    mixed_p, mixed_q = (UNIFORM_SHARE / len(p) + (1 - UNIFORM_SHARE) * one for one in (p, q))
    divergence = float((mixed_p * np.log(mixed_p / mixed_q)).sum())
    return Comparison(float(np.minimum(p, q).sum()), max(divergence, 0.0))


def _densities(
    one: NDArray[np.float64], other: NDArray[np.float64], bandwidth: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Kernel estimates on one grid from the smallest to the largest of both, each summing to 1."""
    low = min(one.min(), other.min()) - KERNEL * bandwidth
    high = max(one.max(), other.max()) + KERNEL * bandwidth
    points = min(int(np.ceil((high - low) / bandwidth * POINTS_PER_BANDWIDTH)) + 1, MOST_POINTS)
    width = (high - low) / (points - 1)
    reach = int(KERNEL * bandwidth / width)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * width / bandwidth) ** 2)

    def density(values: NDArray[np.float64]) -> NDArray[np.float64]:
        # Each value is shared out between the two points of the grid it lies between.
        place = (values - low) / width
        left = np.minimum(place.astype(np.int64), points - 2)
        right_share = place - left
        counts = np.bincount(left, 1 - right_share, points) + np.bincount(left + 1, right_share, points)
        smooth = np.convolve(counts, kernel, mode="same")
        shares: NDArray[np.float64] = smooth / smooth.sum()
        return shares

    return density(one), density(other)


def _distances(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial.distance import cdist

    apart: NDArray[np.float64] = cdist(first, second)
    return apart


def _over(values: NDArray[np.generic], number: IntArray) -> NDArray[np.float64]:
    """Rows (B, d) over a number each (B,); NaN where it is not more than 0."""
    divisor = np.where(number > 0, number, np.nan)
    found: NDArray[np.float64] = np.asarray(values, dtype=np.float64) / divisor[:, None]
    return found


def _histogram(kinds: IntArray, mask: NDArray[np.bool_], size: int) -> IntArray:
    """How often each row has each of the kinds 0 to size - 1, (B, size)."""
    rows = np.broadcast_to(np.arange(len(kinds))[:, None], kinds.shape)
    counts = np.bincount((rows * size + kinds)[mask], minlength=len(kinds) * size)
    return counts.reshape(len(kinds), size)


def _transitions(kinds: IntArray, pairs: NDArray[np.bool_], size: int) -> IntArray:
    """How often each row goes from each of the kinds to each, (B, size²)."""
    return _histogram(kinds[:, :-1] * size + kinds[:, 1:], pairs, size * size)
