"""How are sequences of different lengths kept and counted?

Conventions: B sequences of integers stand in one array ``(B, T)`` beside their lengths ``(B,)``; what lies beyond a
length is never read. Any integers will do as tokens. N-grams are numbered by exact ranking, so two n-grams share a
number only if they are the same: nothing is hashed.

- `Sequences`: the array and the lengths. `as_sequences` makes one of anything that can be meant.
- `NgramIndex`: numbers for the n-grams of a set of sequences, and the look-up of other sequences in it.
- `rank`: where keys stand in a sorted table, which `seqgan_music.metrics.markov` rests on too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

IntArray: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """Sequences of integers, padded to one array.

    Parameters
    ----------
    tokens : ndarray (B, T), int64
        One sequence a row; whatever stands beyond a row's length is ignored.
    lengths : ndarray (B,), int64
        Tokens in each row, 0 to T.

    Raises
    ------
    ValueError
        If the shapes do not fit, the arrays hold no integers, or a length is not within 0 to T.

    Examples
    --------
    >>> s = Sequences.from_lists([[5, 6, 7], [], [5]])
    >>> s.tokens.shape, s.lengths.tolist()
    ((3, 3), [3, 0, 1])
    >>> s.to_lists()
    [[5, 6, 7], [], [5]]
    """

    tokens: IntArray
    lengths: IntArray

    def __post_init__(self) -> None:
        tokens, lengths = _integers(self.tokens, "tokens"), _integers(self.lengths, "lengths")
        if tokens.ndim != 2 or lengths.shape != tokens.shape[:1]:
            raise ValueError(f"expected tokens (B, T) and lengths (B,), not {tokens.shape} and {lengths.shape}")
        if lengths.size and (lengths.min() < 0 or lengths.max() > tokens.shape[1]):
            raise ValueError(f"lengths must be within 0 and T = {tokens.shape[1]}")
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "lengths", lengths)

    @classmethod
    def from_lists(cls, rows: Sequence[Sequence[int]]) -> Sequences:
        """Pad rows of any lengths to one array.

        Parameters
        ----------
        rows : sequence of sequences of int
            Lists, tuples or one-dimensional arrays.

        Returns
        -------
        Sequences
            T is the greatest length.

        Raises
        ------
        ValueError
            If a row holds anything but integers.
        """
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        tokens = np.zeros((len(rows), int(lengths.max(initial=0))), dtype=np.int64)
        sequences = cls(tokens, lengths)
        flat = list(chain.from_iterable(rows))
        if flat:
            tokens[sequences.valid] = _integers(np.asarray(flat), "tokens")
        return sequences

    @classmethod
    def concatenate(cls, parts: Sequence[Sequences]) -> Sequences:
        """The rows of several, one below the other.

        Parameters
        ----------
        parts : sequence of Sequences
            At least one.

        Returns
        -------
        Sequences
            T is the greatest of theirs.
        """
        width = max(part.tokens.shape[1] for part in parts)
        padded = [np.pad(part.tokens, ((0, 0), (0, width - part.tokens.shape[1]))) for part in parts]
        return cls(np.concatenate(padded), np.concatenate([part.lengths for part in parts]))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, rows: Any) -> Sequences:
        """The sequences of some rows: a slice, an array of row numbers or of booleans."""
        return Sequences(self.tokens[rows], self.lengths[rows])

    @property
    def valid(self) -> NDArray[np.bool_]:
        """True where a token stands, False where padding does; ``(B, T)``."""
        mask: NDArray[np.bool_] = np.arange(self.tokens.shape[1]) < self.lengths[:, None]
        return mask

    def to_lists(self) -> list[list[int]]:
        """The rows as lists without padding."""
        return [row[:n] for row, n in zip(self.tokens.tolist(), self.lengths.tolist(), strict=True)]


SequencesLike: TypeAlias = "Sequences | IntArray | Sequence[Sequence[int]]"
"""What `as_sequences` takes: `Sequences`, an array ``(B, T)`` without padding, or rows of any lengths."""


def as_sequences(sequences: SequencesLike) -> Sequences:
    """`Sequences` of anything that can be meant by them.

    Parameters
    ----------
    sequences : Sequences, ndarray (B, T) or sequence of sequences of int
        An array holds B sequences of T tokens each, none of them padding.

    Returns
    -------
    Sequences

    Raises
    ------
    ValueError
        If there is anything but integers, or an array is not two-dimensional.

    Examples
    --------
    >>> as_sequences([[1, 2], [3]]).lengths.tolist()
    [2, 1]
    >>> as_sequences(np.array([[1, 2], [3, 4]])).lengths.tolist()
    [2, 2]
    """
    if isinstance(sequences, Sequences):
        return sequences
    if isinstance(sequences, np.ndarray):
        if sequences.ndim != 2:
            raise ValueError(f"expected an array (B, T), not one of shape {sequences.shape}")
        return Sequences(sequences, np.full(sequences.shape[0], sequences.shape[1], dtype=np.int64))
    return Sequences.from_lists(sequences)


def rank(table: IntArray, keys: IntArray) -> IntArray:
    """Where each key stands in a sorted table of different keys.

    Parameters
    ----------
    table : ndarray (K,)
        Ascending, every key once.
    keys : ndarray of any shape

    Returns
    -------
    ndarray, int64
        Of the shape of `keys`: 0 to K - 1, or -1 for a key that is not in the table.

    Examples
    --------
    >>> rank(np.array([10, 20, 40]), np.array([40, 30, 10, 99])).tolist()
    [2, -1, 0, -1]
    """
    if not table.size:
        return np.full(keys.shape, -1, dtype=np.int64)
    places = np.minimum(np.searchsorted(table, keys), table.size - 1)
    return np.where(table[places] == keys, places, -1).astype(np.int64, copy=False)


class NgramIndex:
    """A number for every different n-gram of some sequences, n = 1 to `max_n`.

    The numbers of one n run from 0 without gaps, in the lexicographic order of the n-grams.

    Parameters
    ----------
    sequences : Sequences
    max_n : int
        Longest n-gram, at least 1.

    Attributes
    ----------
    sizes : list of int
        How many different n-grams there are; ``sizes[n - 1]`` for n.

    Raises
    ------
    ValueError
        If `max_n` is less than 1.

    Examples
    --------
    >>> index = NgramIndex(as_sequences([[4, 5, 4, 5]]), 2)
    >>> index.sizes
    [2, 2]
    >>> [codes.tolist() for codes in index.codes(as_sequences([[5, 4, 5, 5, 6]]))]
    [[[1, 0, 1, 1, -1]], [[1, 0, -1, -1]]]
    """

    def __init__(self, sequences: Sequences, max_n: int) -> None:
        if max_n < 1:
            raise ValueError(f"n-grams have at least one token, so max_n must be at least 1, not {max_n}")
        self.max_n = max_n
        self._tokens = _distinct(sequences.tokens[sequences.valid])
        self._longer: list[_Places] = []
        codes = token_codes = self._token_codes(sequences)
        for n in range(2, max_n + 1):
            keys = self._keys(codes, token_codes, n)
            self._longer.append(_Places(_distinct(keys[keys >= 0])))
            codes = self._longer[-1].of(keys)
        self.sizes = [self._tokens.size, *(table.size for table in self._longer)]

    def codes(self, sequences: Sequences) -> Iterator[IntArray]:
        """Numbers of the n-grams that start at each position, for n = 1, 2, ... in turn.

        Parameters
        ----------
        sequences : Sequences
            The indexed ones or others.

        Yields
        ------
        ndarray (B, max(T - n + 1, 0)), int64
            -1 where no n-gram starts because the sequence ends before, and where it is not in the index.
        """
        codes = token_codes = self._token_codes(sequences)
        yield codes
        for n in range(2, self.max_n + 1):
            codes = self._longer[n - 2].of(self._keys(codes, token_codes, n))
            yield codes

    def _token_codes(self, sequences: Sequences) -> IntArray:
        return np.where(sequences.valid, rank(self._tokens, sequences.tokens), -1)

    def _keys(self, shorter: IntArray, token_codes: IntArray, n: int) -> IntArray:
        # An n-gram is an (n-1)-gram and one more token. Both numbers are below the count of tokens, so that no
        # product overflows.
        head, last = shorter[:, :-1], token_codes[:, n - 1 :]
        return np.where((head >= 0) & (last >= 0), head * self._tokens.size + last, -1)


class _Places:
    """Where keys stand in an ascending table of different keys, none negative: `rank`, by hashing.

    A search by halves reads a dozen and more far places of a large table for every key, this one or two. The hash says
    where to look, and the key that stands there whether it is the one.

    Parameters
    ----------
    table : ndarray (K,)
    """

    def __init__(self, table: IntArray) -> None:
        self.size = table.size
        self._bits = max(1, int(4 * table.size).bit_length())
        buckets = self._hash(table)
        self._order = np.append(np.argsort(buckets, kind="stable"), -1)
        self._keys = np.append(table[self._order[:-1]], -1)
        counts = np.bincount(buckets, minlength=1 << self._bits)
        self._first = np.cumsum(counts) - counts
        self._most = int(counts.max())

    def of(self, keys: IntArray) -> IntArray:
        """Places, of the shape of `keys`: 0 to K - 1, or -1 for a key that is not in the table."""
        places = np.full(keys.size, -1, dtype=np.int64)
        left = np.flatnonzero(keys.ravel() >= 0)
        wanted = keys.ravel()[left]
        at = self._first[self._hash(wanted)]
        for _ in range(self._most):
            found = self._keys[at] == wanted
            places[left[found]] = self._order[at[found]]
            missing = ~found
            left, wanted, at = left[missing], wanted[missing], np.minimum(at[missing] + 1, self.size)
        return places.reshape(keys.shape)

    def _hash(self, keys: IntArray) -> IntArray:
        """Numbers below 2^bits (Knuth's multiplicative hashing, by the golden ratio; products wrap)."""
        mixed = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return (mixed >> np.uint64(64 - self._bits)).astype(np.int64)


def _distinct(values: IntArray) -> IntArray:
    """Different values in ascending order: `np.unique`, which is slower where most of many values are repeated."""
    ordered = np.sort(values, axis=None)
    fresh = np.ones(ordered.size, dtype=bool)
    fresh[1:] = ordered[1:] != ordered[:-1]
    return ordered[fresh]


def _integers(values: NDArray[Any], what: str) -> IntArray:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.dtype == np.uint64:
        raise ValueError(f"{what} must be integers (int64 or narrower), not {array.dtype}")
    return array.astype(np.int64, copy=False)
