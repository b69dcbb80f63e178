"""Do the phrases of the samples occur in real music, and do they occur in one another?

Conventions
-----------
BLEU-n is the sentence BLEU of Papineni et al. (ACL 2002, section 2) of one hypothesis against *all* references: the
geometric mean of the clipped precisions of its 1- to n-grams with weights 1/n, times the brevity penalty to the closest
reference length (of two equally close ones, the shorter). A precision of 0 is replaced by ε over the number of n-grams
with ε = 0.1: method 1 of Chen and Cherry (WMT 2014). This is what NLTK's ``sentence_bleu`` with
``SmoothingFunction().method1`` gives, to 1e-12, also where not one token matches (0) and where a hypothesis is shorter
than n: the precision of the n-grams it lacks is ε, so that not even a perfect match scores 1. The one difference: an
*empty* hypothesis has no phrases to be judged and scores NaN, where NLTK says 0.

All of BLEU-1 to BLEU-max_n come from one pass; column ``n - 1`` holds BLEU-n. A figure for a set is the mean over its
rows.

Metrics
-------
- `bleu`: each hypothesis against the references; `References` keeps their counts for many calls.
- `self_bleu`: each sample against all the other samples (Zhu et al., SIGIR 2018, "Texygen").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqgan_music.metrics.sequences import IntArray, NgramIndex, SequencesLike, as_sequences

EPSILON = 0.1
"""Matches that a precision without any is counted as (Chen and Cherry 2014, method 1)."""


class References:
    """What BLEU has to know of the references, counted once for any number of hypotheses.

    Parameters
    ----------
    sequences : Sequences, ndarray (R, T) or sequence of sequences of int
        At least one reference.
    max_n : int
        Longest n-gram.

    Raises
    ------
    ValueError
        If there are no references, or `max_n` is less than 1.

    Examples
    --------
    >>> references = References([[1, 2, 3, 4], [2, 3, 2, 3, 5]], max_n=2)
    >>> references.bleu([[1, 2, 3, 4], [2, 3, 3, 9]]).round(4).tolist()
    [[1.0, 1.0], [0.75, 0.5]]
    """

    def __init__(self, sequences: SequencesLike, max_n: int = 5) -> None:
        references = as_sequences(sequences)
        if not len(references):
            raise ValueError("BLEU needs at least one reference")
        self.max_n = max_n
        self.count = len(references)
        self._index = NgramIndex(references, max_n)
        self._lengths = np.unique(references.lengths)
        self._most: list[IntArray] = []
        for codes, size in zip(self._index.codes(references), self._index.sizes, strict=True):
            _, grams, counts = _count(codes)
            most = np.zeros(size, dtype=np.int64)
            np.maximum.at(most, grams, counts)
            self._most.append(most)

    def __len__(self) -> int:
        return self.count

    def bleu(self, hypotheses: SequencesLike) -> NDArray[np.float64]:
        """BLEU-1 to BLEU-max_n of each hypothesis against all references.

        Parameters
        ----------
        hypotheses : Sequences, ndarray (B, T) or sequence of sequences of int

        Returns
        -------
        ndarray (B, max_n)
            In [0, 1]; column ``n - 1`` is BLEU-n. NaN for an empty hypothesis.
        """
        samples = as_sequences(hypotheses)
        matches = np.zeros((len(samples), self.max_n))
        for n, codes in enumerate(self._index.codes(samples)):
            rows, grams, counts = _count(codes)
            clipped = np.minimum(counts, self._most[n][grams])
            matches[:, n] = np.bincount(rows, weights=clipped, minlength=len(samples))
        return _scores(matches, samples.lengths, _closest(self._lengths, samples.lengths))


def bleu(hypotheses: SequencesLike, references: References | SequencesLike, max_n: int = 5) -> NDArray[np.float64]:
    """BLEU-1 to BLEU-max_n of each hypothesis against all references.

    Papineni et al. (ACL 2002), with smoothing method 1 of Chen and Cherry (WMT 2014); see the head of this module.

    Parameters
    ----------
    hypotheses : Sequences, ndarray (B, T) or sequence of sequences of int
        What is judged.
    references : References, or Sequences, ndarray (R, T) or sequence of sequences of int
        What it is judged by; at least one.
    max_n : int
        Longest n-gram; a `References` must have been counted for the same.

    Returns
    -------
    ndarray (B, max_n)
        In [0, 1]; column ``n - 1`` is BLEU-n. NaN for an empty hypothesis.

    Raises
    ------
    ValueError
        If there are no references, or `max_n` is less than 1 or not that of `references`.

    Examples
    --------
    >>> bleu([[1, 2, 3]], [[1, 2, 3, 4]], max_n=2).round(4).tolist()  # exp(1 - 4/3): only the length is wrong
    [[0.7165, 0.7165]]
    """
    if not isinstance(references, References):
        references = References(references, max_n)
    elif references.max_n != max_n:
        raise ValueError(f"the references were counted for max_n = {references.max_n}, not {max_n}")
    return references.bleu(hypotheses)


def self_bleu(sequences: SequencesLike, max_n: int = 5) -> NDArray[np.float64]:
    """BLEU-1 to BLEU-max_n of each sample against all the *other* samples.

    Zhu et al. (SIGIR 2018). High where samples repeat one another; a sample is never its own reference, but
    its double is.

    Parameters
    ----------
    sequences : Sequences, ndarray (B, T) or sequence of sequences of int
    max_n : int
        Longest n-gram.

    Returns
    -------
    ndarray (B, max_n)
        In [0, 1]; column ``n - 1`` is Self-BLEU-n. NaN for an empty sample, and for one that has no others.

    Raises
    ------
    ValueError
        If `max_n` is less than 1.

    Examples
    --------
    >>> self_bleu([[1, 2, 3], [1, 2, 3], [7, 8, 9]], max_n=2).tolist()
    [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
    """
    samples = as_sequences(sequences)
    index = NgramIndex(samples, max_n)
    matches = np.zeros((len(samples), max_n))
    if len(samples) < 2:
        return np.full_like(matches, np.nan)
    for n, codes in enumerate(index.codes(samples)):
        rows, grams, counts = _count(codes)
        # The most that the others have of an n-gram is the most that anyone has, or, for the one who has the most, the
        # second most.
        order = np.lexsort((counts, grams))
        end = np.cumsum(np.bincount(grams, minlength=index.sizes[n]))
        owners = np.diff(end, prepend=0)
        most = counts[order[end - 1]]
        second = np.where(owners > 1, counts[order[np.maximum(end - 2, 0)]], 0)
        others = np.where(counts == most[grams], second[grams], most[grams])
        matches[:, n] = np.bincount(rows, weights=np.minimum(counts, others), minlength=len(samples))
    return _scores(matches, samples.lengths, _closest_other(samples.lengths))


def _count(codes: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """How often each row has each n-gram: the rows, the n-grams and the counts, for those that occur."""
    ordered = np.sort(codes, axis=1)
    fresh = np.ones(ordered.shape, dtype=bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    starts = np.flatnonzero(fresh)
    grams = ordered.ravel()[starts]
    counts = np.diff(starts, append=ordered.size)
    known = grams >= 0
    return starts[known] // max(ordered.shape[1], 1), grams[known], counts[known]


def _scores(matches: NDArray[np.float64], lengths: IntArray, closest: IntArray) -> NDArray[np.float64]:
    """BLEU from the clipped matches (B, max_n), the lengths (B,) and the closest reference lengths (B,)."""
    orders = np.arange(1, matches.shape[1] + 1)
    totals = np.maximum(lengths[:, None] - orders + 1, 1)
    precisions = np.where(matches == 0, EPSILON, matches) / totals
    brevity = np.exp(np.minimum(1 - closest / np.maximum(lengths, 1), 0))
    scores: NDArray[np.float64] = brevity[:, None] * np.exp(np.cumsum(np.log(precisions), axis=1) / orders)
    scores[matches[:, 0] == 0] = 0
    scores[lengths == 0] = np.nan
    return scores


def _closest(known: IntArray, lengths: IntArray) -> IntArray:
    """Of the sorted `known` lengths, the one closest to each of `lengths`; of two, the shorter."""
    place = np.searchsorted(known, lengths)
    below, above = known[np.maximum(place - 1, 0)], known[np.minimum(place, known.size - 1)]
    return np.where(np.abs(lengths - below) <= np.abs(above - lengths), below, above)


def _closest_other(lengths: IntArray) -> IntArray:
    """The length closest to each of `lengths` among all the others; of two, the shorter. At least two lengths."""
    known, place, counts = np.unique(lengths, return_inverse=True, return_counts=True)
    # A length that occurs once has only its neighbours; beyond either end there is nothing near.
    far = 4 * (int(known[-1]) + 1)
    below, above = np.append(-far, known[:-1]), np.append(known[1:], far)
    neighbour = np.where(known - below <= above - known, below, above)
    return np.where(counts > 1, known, neighbour)[place]
