"""How far does one get without a network?

Conventions
-----------
A Markov chain draws every event given the last `order` ones, with the frequencies it was fitted to. Before the first
event the context is filled with a start symbol; after the last stands an end symbol, if the sequence ended there and
was not cut. Where a context never occurred, the longest shorter one that did is used, down to no context at all.
Nothing is smoothed: a chain of order k is made of phrases of k + 1 events it has seen, which is why even order 1 comes
close to real music in BLEU and belongs into every table.

- `Markov`: the chain; `Markov.fit` and `Markov.sample`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqgan_music.metrics.events import event_codes, event_parts
from seqgan_music.metrics.sequences import IntArray, Sequences, SequencesLike, as_sequences, rank

_END = -1
_START = 0


class Markov:
    """A Markov chain over sequences of integers, such as note events.

    Parameters
    ----------
    order : int
        Events that the next one depends on; 0 draws every event by itself.

    Raises
    ------
    ValueError
        If `order` is negative.

    Examples
    --------
    >>> chain = Markov(order=1).fit([[7, 8, 9]])
    >>> chain.sample(2, np.random.default_rng(0), length=10).to_lists()
    [[7, 8, 9], [7, 8, 9]]
    """

    def __init__(self, order: int) -> None:
        if order < 0:
            raise ValueError(f"the order of a Markov chain cannot be {order}")
        self.order = order
        self._fitted = False

    def fit(self, sequences: SequencesLike, ended: bool | NDArray[np.bool_] = True) -> Markov:
        """Learn the frequencies; whatever was learnt before is forgotten.

        Parameters
        ----------
        sequences : Sequences, ndarray (B, T) or sequence of sequences of int
        ended : bool or ndarray (B,), bool
            Whether a sequence is at its end after its last event. False for a window cut from a longer sequence:
            nothing is then learnt about what follows. A chain that has seen no end never ends by itself.

        Returns
        -------
        Markov
            Itself.

        Raises
        ------
        ValueError
            If there is nothing to learn (no sequences, or none but empty ones that did not end), or `ended` has not one
            value for each.
        """
        rows = as_sequences(sequences)
        self._symbols = np.unique(rows.tokens[rows.valid])
        # Columns: `order` start symbols, then the events, numbered from 1 because 0 is the start, then the end.
        events = np.where(rows.valid, rank(self._symbols, rows.tokens) + 1, _END)
        batch, width = events.shape
        padded = np.concatenate(
            [np.full((batch, self.order), _START), events, np.full((batch, 1), _END)], axis=1, dtype=np.int64
        )
        at = np.arange(width + 1)
        learnt = at < (rows.lengths + np.broadcast_to(np.asarray(ended, dtype=bool), batch))[:, None]
        if not learnt.any():
            raise ValueError("a Markov chain cannot be fitted to nothing")
        following = padded[:, self.order :][learnt]

        # The contexts of length k are numbered by exact ranking of (number of the context of length k - 1, the event
        # before it). What followed each one lies in a row of its own, so that a uniform index into it is a draw.
        context = np.zeros(len(following), dtype=np.int64)
        self._tables: list[IntArray] = []
        self._starts: list[IntArray] = []
        self._sizes: list[IntArray] = []
        self._following: list[IntArray] = []
        for k in range(self.order + 1):
            if k:
                column = self.order - k
                keys = context * (len(self._symbols) + 1) + padded[:, column : column + width + 1][learnt]
                table, context = np.unique(keys, return_inverse=True)
                self._tables.append(table)
            sizes = np.bincount(context)
            self._sizes.append(sizes)
            self._starts.append(np.cumsum(sizes) - sizes)
            self._following.append(following[np.lexsort((following, context))])
        self._fitted = True
        return self

    def sample(
        self, n: int, rng: np.random.Generator, *, steps: int | None = None, length: int | None = None
    ) -> Sequences:
        """Draw sequences, until each ends by itself or is long enough.

        Parameters
        ----------
        n : int
            How many.
        rng : numpy.random.Generator
            One uniform is drawn for every sequence in every round, also for those that have ended.
        steps : int, optional
            A sequence of note events is long enough when its durations fill so many grid steps; the last event is cut
            to fit.
        length : int, optional
            A sequence is long enough when it has so many events. Either `steps` or `length` must be given.

        Returns
        -------
        Sequences
            n rows.

        Raises
        ------
        ValueError
            If the chain is not fitted, not exactly one of `steps` and `length` is given, a number is negative, or
            `steps` is given for symbols that are not note events.
        """
        if not self._fitted:
            raise ValueError("the chain has to be fitted before it can be sampled")
        limit = steps if length is None else length
        if limit is None or (steps is not None and length is not None):
            raise ValueError("exactly one of steps and length has to be given")
        if n < 0 or limit < 0:
            raise ValueError(f"cannot sample {n} sequences up to {limit}")
        if steps is None:
            sizes = np.ones_like(self._symbols)
        else:
            pitches, sizes = event_parts(self._symbols)

        drawn: list[IntArray] = []
        left = np.full(n, limit, dtype=np.int64)
        past = np.full((n, self.order), _START, dtype=np.int64)
        lengths = np.zeros(n, dtype=np.int64)
        while (left > 0).any():
            symbol = self._draw(past, rng.random(n))
            running = (left > 0) & (symbol != _END)
            number = np.where(running, symbol - 1, 0)
            event = self._symbols[number] if self._symbols.size else np.zeros_like(number)
            if steps is not None and running.any():
                cut = running & (sizes[number] > left)
                event[cut] = event_codes(pitches[number[cut]], left[cut])
            drawn.append(event)
            lengths += running
            left = np.where(running, left - sizes[number] if sizes.size else 0, 0)
            past = np.concatenate([past, symbol[:, None]], axis=1)[:, 1:]
        tokens = np.stack(drawn, axis=1) if drawn else np.zeros((n, 0), dtype=np.int64)
        return Sequences(tokens[:, : int(lengths.max(initial=0))], lengths)

    def _draw(self, past: IntArray, uniform: NDArray[np.float64]) -> IntArray:
        """What follows the last events (n, order), by the longest context that is known."""
        context = np.zeros(len(past), dtype=np.int64)
        symbol = self._pick(0, context, uniform)
        for k in range(1, self.order + 1):
            keys = context * (len(self._symbols) + 1) + past[:, self.order - k]
            # A context whose shorter part is unknown (-1) has a negative key, and is unknown too.
            context = rank(self._tables[k - 1], keys)
            symbol = np.where(context >= 0, self._pick(k, np.maximum(context, 0), uniform), symbol)
        return symbol

    def _pick(self, k: int, context: IntArray, uniform: NDArray[np.float64]) -> IntArray:
        # uniform is at most 1 - 2^-53, so that the product never rounds up to the size itself.
        chosen = (uniform * self._sizes[k][context]).astype(np.int64)
        symbols: IntArray = self._following[k][self._starts[k][context] + chosen]
        return symbols
