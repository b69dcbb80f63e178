"""How different are the samples from one another?

Conventions
-----------
Sequences are compared token by token; on note events (`seqgan_music.metrics.events`) the figures of all tokenizers
compare. Each lies in [0, 1], and 0 means the same thing over and over. Its target is the value of real music, which
repeats itself too. Self-BLEU, the fourth figure of this kind, is in `seqgan_music.metrics.bleu`.

Metrics
-------
- `unique_share`: how many of the sequences are different.
- `distinct_n`: how many of their n-grams are different.
- `edit_distance_diversity`: how far two of them lie apart on average; `edit_distances` for given pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqgan_music.metrics.sequences import IntArray, NgramIndex, SequencesLike, as_sequences, rank

CELLS = 1 << 15
"""Cells of an anti-diagonal worked on at a time: what stays in the processor's cache."""


def unique_share(sequences: SequencesLike) -> float:
    """Different sequences over all sequences.

    Parameters
    ----------
    sequences : Sequences, ndarray (B, T) or sequence of sequences of int

    Returns
    -------
    float
        1/B (all are the same) to 1 (no two are); NaN where there are no sequences.

    Examples
    --------
    >>> unique_share([[1, 2], [1, 2], [1], [1, 0]])
    0.75
    """
    samples = as_sequences(sequences)
    if not len(samples):
        return float("nan")
    # The length tells a short sequence from a longer one that goes on with zeros.
    rows = np.column_stack([samples.lengths, np.where(samples.valid, samples.tokens, 0)])
    return len(np.unique(rows, axis=0)) / len(samples)


def distinct_n(sequences: SequencesLike, n: int) -> float:
    """Different n-grams over all n-grams of all sequences.

    The distinct-n of Li et al. (NAACL 2016). It falls with the amount of text: compare equal amounts only.

    Parameters
    ----------
    sequences : Sequences, ndarray (B, T) or sequence of sequences of int
    n : int
        Tokens in an n-gram, at least 1.

    Returns
    -------
    float
        In (0, 1]; NaN where no sequence is as long as n.

    Raises
    ------
    ValueError
        If `n` is less than 1.

    Examples
    --------
    >>> distinct_n([[1, 2, 1, 2], [1, 2]], 2)  # (1, 2) and (2, 1) of four
    0.5
    """
    samples = as_sequences(sequences)
    different = NgramIndex(samples, n).sizes[-1]
    total = int(np.maximum(samples.lengths - n + 1, 0).sum())
    return different / total if total else float("nan")


class EditDistance(NamedTuple):
    """A mean edit distance and the pairs it was taken over.

    Parameters
    ----------
    mean : float
        Mean normalised edit distance; NaN where there are no pairs.
    pairs : int
        Pairs that were compared.
    population : int
        Pairs that there are, B(B - 1)/2. Where `pairs` is less, the mean is an estimate.
    """

    mean: float
    pairs: int
    population: int


def edit_distance_diversity(sequences: SequencesLike, max_pairs: int = 10_000, seed: int = 0) -> EditDistance:
    """Mean normalised edit distance between two different samples.

    Levenshtein's distance (1966; insertions, deletions and substitutions count 1) over the length of the longer of the
    two. A sample is not compared with itself, but with its double.

    Parameters
    ----------
    sequences : Sequences, ndarray (B, T) or sequence of sequences of int
    max_pairs : int
        Where there are more pairs, so many are drawn among them without repetition.
    seed : int
        Of that draw.

    Returns
    -------
    EditDistance
        The mean, in [0, 1], with the number of pairs compared and the number there are; NaN for less than two samples.
        Two empty sequences are equal, hence 0 apart.

    Raises
    ------
    ValueError
        If `max_pairs` is less than 1.

    Examples
    --------
    >>> edit_distance_diversity([[1, 2, 3, 4], [1, 2, 4], [1, 2, 3, 4]])
    EditDistance(mean=0.16666666666666666, pairs=3, population=3)
    """
    if max_pairs < 1:
        raise ValueError(f"max_pairs must be at least 1, not {max_pairs}")
    samples = as_sequences(sequences)
    population = len(samples) * (len(samples) - 1) // 2
    if not population:
        return EditDistance(float("nan"), 0, 0)
    if population <= max_pairs:
        numbers = np.arange(population)
    else:
        numbers = np.random.default_rng(seed).choice(population, max_pairs, replace=False)
    # Pair number p is (i, j) with j < i and p = i(i - 1)/2 + j.
    ends = np.cumsum(np.arange(len(samples)))
    i = np.searchsorted(ends, numbers, side="right")
    j = numbers - ends[i - 1]
    distances = edit_distances(samples[i], samples[j])
    longer = np.maximum(samples.lengths[i], samples.lengths[j])
    return EditDistance(float(np.mean(distances / np.maximum(longer, 1))), len(numbers), population)


def edit_distances(first: SequencesLike, second: SequencesLike) -> IntArray:
    """Levenshtein's edit distance of each sequence of one set to the same row of another.

    Parameters
    ----------
    first, second : Sequences, ndarray (P, T) or sequence of sequences of int
        As many of the one as of the other; their widths may differ.

    Returns
    -------
    ndarray (P,), int64
        Insertions, deletions and substitutions that make one sequence the other.

    Raises
    ------
    ValueError
        If the two have different numbers of sequences.

    Examples
    --------
    >>> edit_distances([[1, 2, 3], [1, 2, 3]], [[2, 3, 4], []]).tolist()
    [2, 3]
    """
    a, b = as_sequences(first), as_sequences(second)
    if len(a) != len(b):
        raise ValueError(f"expected as many sequences on both sides, not {len(a)} and {len(b)}")
    width = max(a.tokens.shape[1], b.tokens.shape[1])
    alphabet = np.unique(np.concatenate([a.tokens[a.valid], b.tokens[b.valid]]))
    # Narrow integers: the work is bound by memory.
    narrow = np.int16 if max(len(alphabet), 2 * width) < 1 << 15 else np.int64
    distances = np.empty(len(a), dtype=np.int64)
    pairs = max(CELLS // (width + 1), 1)
    for start in range(0, len(a), pairs):
        chunk = slice(start, start + pairs)
        distances[chunk] = _by_diagonals(
            rank(alphabet, a.tokens[chunk]).T.astype(narrow, order="C"),
            rank(alphabet, b.tokens[chunk]).T.astype(narrow, order="C"),
            a.lengths[chunk],
            b.lengths[chunk],
        )
    return distances


def _by_diagonals(a: NDArray[np.integer], b: NDArray[np.integer], a_lengths: IntArray, b_lengths: IntArray) -> IntArray:
    """Edit distances of the columns of `a` (Ta, P) and `b` (Tb, P).

    The table of Wagner and Fischer (1974), filled by anti-diagonals: the cells (i, k - i) of one depend only on the two
    before it, so that they are computed for all pairs at once.
    """
    (rows, pairs), columns = a.shape, b.shape[0]
    backwards = b[::-1]
    last = a_lengths + b_lengths
    distances = np.zeros(pairs, dtype=np.int64)
    before = np.zeros((rows + 1, pairs), dtype=a.dtype)  # [i] is cell (i, k - 2 - i)
    current = np.ones_like(before)  # [i] is cell (i, k - 1 - i)
    distances[last == 1] = 1
    for k in range(2, int(last.max(initial=0)) + 1):
        following = np.empty_like(before)
        following[0] = k
        if k <= rows:
            following[k] = k
        low, high = max(1, k - columns), min(rows, k - 1)  # the cells with a neighbour on every side
        if low <= high:
            inner = following[low : high + 1]
            # backwards[columns - j] is token j of b, counted from 1, and j = k - i falls as i grows.
            tokens = backwards[columns - k + low : columns - k + high + 1]
            np.minimum(current[low - 1 : high], current[low : high + 1], out=inner)
            inner += 1
            np.minimum(inner, before[low - 1 : high] + (a[low - 1 : high] != tokens), out=inner)
        before, current = current, following
        done = np.flatnonzero(last == k)
        distances[done] = current[a_lengths[done], done]
    return distances
