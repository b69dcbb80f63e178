"""Can one learn real music from the samples?

Conventions
-----------
*Reverse* likelihood: a small fixed model is fitted to the samples and asked how probable held-out real music is. It is
the other side of the likelihood that a generator itself gives to real music, and can be taken of anything that can be
sampled: what the samples never do (a mode that was dropped, a phrase that is always the same) makes real music
improbable. The model is an n-gram model with Witten-Bell's interpolation (Witten and Bell 1991, method C; Chen and
Goodman 1999, section 2.5), with nothing to tune and nothing drawn:

    P(w | h) = (c(h w) + t(h) P(w | h')) / (c(h) + t(h))

where c counts, t(h) is the number of different events after h, and h' is h without its first event. A context that
never occurred has the probabilities of h'. Below the empty context stands the uniform distribution over a given
alphabet, so that every event has a probability. Before the first event stand start symbols.

- `WittenBell`: the model; `WittenBell.fit`, `WittenBell.log_probabilities` and `WittenBell.nats`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from seqgan_music.metrics.sequences import IntArray, Sequences, SequencesLike, as_sequences, rank

_START = 0
_UNKNOWN = -1


class WittenBell:
    """An interpolated n-gram model of sequences of integers, such as note events.

    Parameters
    ----------
    order : int
        Events that the next one depends on, 0 or more; 2 is a trigram model.
    alphabet : int
        How many different events there can be.

    Raises
    ------
    ValueError
        If `order` is negative, or `alphabet` less than 1.

    Examples
    --------
    >>> model = WittenBell(order=0, alphabet=4).fit([[7, 7, 8]])
    >>> np.exp(model.log_probabilities([[7, 8, 9]])).round(3).tolist()  # (2, 1, 0 + 2 / 4) / (3 + 2)
    [[0.5, 0.3, 0.1]]
    """

    def __init__(self, order: int, alphabet: int) -> None:
        if order < 0:
            raise ValueError(f"the order of an n-gram model cannot be {order}")
        if alphabet < 1:
            raise ValueError(f"an alphabet has at least one event, not {alphabet}")
        self.order, self.alphabet = order, alphabet
        self._fitted = False

    def fit(self, sequences: SequencesLike) -> WittenBell:
        """Count; whatever was counted before is forgotten.

        Parameters
        ----------
        sequences : Sequences, ndarray (B, T) or sequence of sequences of int
            None, or only empty ones, leave every event equally probable.

        Returns
        -------
        WittenBell
            Itself.

        Raises
        ------
        ValueError
            If there are more different events than the alphabet has.
        """
        rows = as_sequences(sequences)
        self._symbols = np.unique(rows.tokens[rows.valid])
        if len(self._symbols) > self.alphabet:
            raise ValueError(f"{len(self._symbols)} different events are more than the alphabet of {self.alphabet}")
        padded, event = self._events(rows)
        context = np.zeros(len(event), dtype=np.int64)
        self._contexts: list[IntArray] = []
        self._pairs: list[IntArray] = []
        self._counts: list[IntArray] = []
        self._totals: list[IntArray] = []
        self._types: list[IntArray] = []
        for k in range(self.order + 1):
            if k:
                table, context = np.unique(self._keys(context, self._before(padded, rows, k)), return_inverse=True)
                self._contexts.append(table)
            pairs, counts = np.unique(self._keys(context, event), return_counts=True)
            size = int(context.max(initial=-1)) + 1
            self._pairs.append(pairs)
            self._counts.append(counts)
            self._totals.append(np.bincount(context, minlength=size))
            self._types.append(np.bincount(pairs // self._base, minlength=size))
        self._fitted = True
        return self

    def log_probabilities(self, sequences: SequencesLike) -> NDArray[np.float64]:
        """Log-probability of every event given those before it.

        Parameters
        ----------
        sequences : Sequences, ndarray (B, T) or sequence of sequences of int

        Returns
        -------
        ndarray (B, T)
            In nats; NaN beyond a sequence's length.

        Raises
        ------
        ValueError
            If the model is not fitted.
        """
        if not self._fitted:
            raise ValueError("the model has to be fitted before it knows probabilities")
        rows = as_sequences(sequences)
        padded, event = self._events(rows)
        context = np.zeros(len(event), dtype=np.int64)
        probability = np.full(len(event), 1 / self.alphabet)
        for k in range(self.order + 1):
            if k:
                context = rank(self._contexts[k - 1], self._keys(context, self._before(padded, rows, k)))
            if not self._totals[k].size:
                break  # fitted to nothing
            pair = rank(self._pairs[k], self._keys(context, event))
            count = np.where(pair >= 0, self._counts[k][pair], 0)
            total, types = self._totals[k][context], self._types[k][context]
            probability = np.where(context >= 0, (count + types * probability) / (total + types), probability)
        found = np.full(rows.tokens.shape, np.nan)
        found[rows.valid] = np.log(probability)
        return found

    def nats(self, sequences: SequencesLike) -> float:
        """Mean of the negative log-probability over all events of all sequences; NaN where there are none."""
        found = self.log_probabilities(sequences)
        defined = found[~np.isnan(found)]
        return float(-defined.mean()) if len(defined) else math.nan

    @property
    def _base(self) -> int:
        return len(self._symbols) + 1

    def _events(self, rows: Sequences) -> tuple[IntArray, IntArray]:
        """Numbers of the events after `order` start symbols (B, order + T), and of those to be predicted."""
        numbers = rank(self._symbols, rows.tokens)
        numbers = np.where(numbers >= 0, numbers + 1, _UNKNOWN)
        starts = np.full((len(rows), self.order), _START, dtype=np.int64)
        return np.concatenate([starts, numbers], axis=1), numbers[rows.valid]

    def _before(self, padded: IntArray, rows: Sequences, k: int) -> IntArray:
        """The event k places before each one that is predicted."""
        column = self.order - k
        return padded[:, column : column + rows.tokens.shape[1]][rows.valid]

    def _keys(self, context: IntArray, event: IntArray) -> IntArray:
        return np.where((context >= 0) & (event >= 0), context * self._base + event, -1)
