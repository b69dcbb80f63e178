"""How much of the samples is copied from the training tunes?

Conventions
-----------
Copied means token for token: on note events (`seqgan_music.metrics.events`) the same pitches, rests and durations one
after another, in the same octave and key. The sources are searched wherever a phrase may begin, but within one sequence
each: of overlapping windows of a tune, a phrase is found where one window holds all of it. The target is the value of
held-out real music, which shares phrases with the training tunes too.

Metrics
-------
- `longest_matches`: how far each sample can be followed in the sources from each of its tokens.
- `copied_share`: n-grams of each sample that stand in a source.
- `longest_copy`: the longest run of each sample that does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqgan_music.metrics.sequences import IntArray, Sequences, SequencesLike, as_sequences

ROWS_AT_ONCE = 1 << 14
"""Sources that are searched at a time."""


def longest_matches(samples: SequencesLike, sources: SequencesLike) -> IntArray:
    """From each token of each sample on, the longest run that stands so in some source.

    Exact: all suffixes are sorted by doubling (Manber and Myers 1993), and the source that agrees longest with a
    suffix is one of its two neighbours in that order.

    Parameters
    ----------
    samples : Sequences, ndarray (B, T) or sequence of sequences of int
    sources : Sequences, ndarray (R, U) or sequence of sequences of int

    Returns
    -------
    ndarray (B, T), int64
        Tokens in the run; 0 where the token itself is in no source, and beyond a sample's length.

    Examples
    --------
    >>> longest_matches([[1, 2, 3, 9, 2]], [[1, 2, 7], [2, 3], [9]]).tolist()
    [[2, 2, 1, 1, 1]]
    """
    rows, known = as_sequences(samples), as_sequences(sources)
    longest = np.zeros(rows.tokens.shape, dtype=np.int64)
    for first in range(0, len(known), ROWS_AT_ONCE):
        np.maximum(longest, _matches(rows, known[first : first + ROWS_AT_ONCE]), out=longest)
    return longest


def copied_share(samples: SequencesLike, matches: IntArray, n: int) -> NDArray[np.float64]:
    """Share of the n-grams of each sample that stand in a source.

    Parameters
    ----------
    samples : Sequences, ndarray (B, T) or sequence of sequences of int
    matches : ndarray (B, T), int
        `longest_matches` of the samples.
    n : int
        Tokens in an n-gram, at least 1.

    Returns
    -------
    ndarray (B,)
        In [0, 1]; NaN for a sample of less than n tokens.

    Raises
    ------
    ValueError
        If `n` is less than 1, or the shapes differ.

    Examples
    --------
    >>> samples = [[1, 2, 3, 9, 2]]
    >>> copied_share(samples, longest_matches(samples, [[1, 2, 7], [2, 3], [9]]), 2).tolist()
    [0.5]
    """
    rows = _checked(samples, matches)
    if n < 1:
        raise ValueError(f"n-grams have at least one token, so n must be at least 1, not {n}")
    total = np.maximum(rows.lengths - n + 1, 0)
    copied = ((matches >= n) & rows.valid).sum(axis=1)
    shares: NDArray[np.float64] = copied / np.where(total > 0, total, np.nan)
    return shares


def longest_copy(samples: SequencesLike, matches: IntArray) -> NDArray[np.float64]:
    """Tokens in the longest run of each sample that stands in a source.

    Parameters
    ----------
    samples : Sequences, ndarray (B, T) or sequence of sequences of int
    matches : ndarray (B, T), int
        `longest_matches` of the samples.

    Returns
    -------
    ndarray (B,)
        NaN for an empty sample.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> samples = [[1, 2, 3, 9, 2], []]
    >>> longest_copy(samples, longest_matches(samples, [[1, 2, 7], [2, 3], [9]])).tolist()
    [2.0, nan]
    """
    rows = _checked(samples, matches)
    return np.where(rows.lengths > 0, matches.max(axis=1, initial=0), np.nan)


def _checked(samples: SequencesLike, matches: IntArray) -> Sequences:
    rows = as_sequences(samples)
    if rows.tokens.shape != matches.shape:
        raise ValueError(f"expected matches of the samples {rows.tokens.shape}, not {matches.shape}")
    return rows


def _matches(samples: Sequences, sources: Sequences) -> IntArray:
    count, width = len(samples), max(samples.tokens.shape[1], sources.tokens.shape[1])
    tokens = np.zeros((count + len(sources), width), dtype=np.int64)
    tokens[:count, : samples.tokens.shape[1]] = samples.tokens
    tokens[count:, : sources.tokens.shape[1]] = sources.tokens
    both = Sequences(tokens, np.concatenate([samples.lengths, sources.lengths]))
    valid, found = both.valid, np.zeros(samples.tokens.shape, dtype=np.int64)
    if not valid[:count].any() or not valid[count:].any():
        return found

    # ranks[k] orders what stands from each place on, up to 2^k tokens; 0 is nothing.
    ranks = [_ranked(tokens, valid)]
    while (step := 1 << (len(ranks) - 1)) < width:
        head = ranks[-1]
        tail = np.zeros_like(head)
        tail[:, :-step] = head[:, step:]
        ranks.append(_ranked(head * (int(head.max()) + 1) + tail, valid))

    left = np.where(valid, both.lengths[:, None] - np.arange(width), 0).ravel()
    places = np.flatnonzero(valid[:count])
    source_places = np.flatnonzero(valid[count:]) + count * width
    order = ranks[-1].ravel()
    suffixes, first = np.unique(order[source_places], return_index=True)
    after = np.searchsorted(suffixes, order[places])
    longest = np.zeros(len(places), dtype=np.int64)
    for neighbour in (np.maximum(after - 1, 0), np.minimum(after, len(suffixes) - 1)):
        others = source_places[first[neighbour]]
        np.maximum(longest, _common(ranks, places, others, left), out=longest)
    found[samples.valid] = longest
    return found


def _ranked(keys: IntArray, valid: NDArray[np.bool_]) -> IntArray:
    """From 1 on in the order of the keys, and 0 where nothing is valid."""
    ranks = np.zeros(keys.shape, dtype=np.int64)
    ranks[valid] = np.unique(keys[valid], return_inverse=True)[1] + 1
    return ranks


def _common(ranks: list[IntArray], one: IntArray, other: IntArray, left: IntArray) -> IntArray:
    """Tokens that agree from places of the flat arrays on; `left` is how many there are from each."""
    most = np.minimum(left[one], left[other])
    common = np.zeros(len(one), dtype=np.int64)
    for k in range(len(ranks) - 1, -1, -1):
        inside = np.flatnonzero(common < most)
        flat = ranks[k].ravel()
        agree = flat[one[inside] + common[inside]] == flat[other[inside] + common[inside]]
        common[inside[agree]] += 1 << k
    # Equal blocks at the ends of both are longer than what is left.
    return np.minimum(common, most)
