"""Whole notes: one token for a pitch and how long it lasts, or for a rest and how long.

A duration that the vocabulary lacks is said by several tokens: the note or rest, then *holds* that prolong it. The
vocabulary is a product, not what occurs: a pitch of the corpus with a duration of the corpus may be said even if no
piece brings the two together, which a melody in another key will.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.notes import REST, Melodies, Piece
from seqgan_music.tokenizers.base import (
    RESOLUTION,
    Ints,
    OnGrid,
    check_steps_per_token,
    common_metres,
    cut_bars,
    line_melodies,
    line_notes,
    melody_width,
)

if TYPE_CHECKING:
    from torch import Tensor

REST_ROW, HOLD_ROW, FIRST_PITCH_ROW = 0, 1, 2
RARE = 1e-3
"""A duration that fewer of the notes and rests of a corpus have is said by holds."""


class NoteTokenizer(OnGrid):
    """One token per note or rest: its pitch and its duration in grid steps.

    Token ids: the durations of a rest, those of a hold, those of each pitch from `low` to `high`, then END, PAD and one
    START per metre. A hold prolongs the note or rest before it.

    Parameters
    ----------
    steps_per_quarter : int
        Grid steps in a quarter note; 4 makes them sixteenths.
    low, high : int
        Lowest and highest MIDI pitch of the vocabulary.
    durations : sequence of int
        Durations of the vocabulary, in steps, 1 among them; all others are said by holds, the longest first.
    metres : sequence of (int, int)
        Metres that have a START.
    max_off_grid : float
        A piece with a larger share of its onsets off the grid is refused; onsets are rounded in any case.
    steps_per_token : float
        How long a token lasts on average: `Melodies` have as many grid steps as T such tokens.

    Raises
    ------
    UsageError
        An option out of its range.
    """

    def __init__(
        self,
        *,
        steps_per_quarter: int = 4,
        low: int = 21,
        high: int = 108,
        durations: Sequence[int] = (1, 2, 3, 4, 6, 8, 12, 16),
        metres: Sequence[Sequence[int]] = ((4, 4),),
        max_off_grid: float = 0.2,
        steps_per_token: float = 1.0,
    ) -> None:
        try:
            self.durations = sorted({int(duration) for duration in durations})
        except (TypeError, ValueError):
            raise UsageError(f"tokenizer.durations must be whole numbers of steps, not {durations!r}") from None
        if not self.durations or self.durations[0] != 1 or len(self.durations) != len(durations):
            raise UsageError(
                f"tokenizer.durations must be different numbers of steps, 1 the smallest, not {list(durations)!r}"
            )
        check_steps_per_token(steps_per_token)
        super().__init__(metres, steps_per_quarter=steps_per_quarter, low=low, high=high, max_off_grid=max_off_grid)
        self._frame((FIRST_PITCH_ROW + high - low + 1) * len(self.durations))
        self.steps_per_token = steps_per_token

    @classmethod
    def fit(cls, pieces: Iterable[Piece], **options: Any) -> NoteTokenizer:
        """Choose range, durations and metres that cover the pieces, unless the options name them."""
        pieces = list(pieces)
        found: dict[str, Any] = {}
        if pitches := [piece.notes.pitch for piece in pieces if piece.notes]:
            found |= {"low": min(int(p.min()) for p in pitches), "high": max(int(p.max()) for p in pitches)}
        if metres := common_metres(pieces, options.get("steps_per_quarter", cls().steps_per_quarter)):
            found["metres"] = metres
        plain = cls(**{**found, **options})
        count: Counter[int] = Counter()
        for piece in pieces:
            try:
                plain._check(piece)
            except PieceRefused:
                continue
            time, _, end = plain._line(piece)
            count.update(np.diff(time, append=end).tolist())
        if count:
            found["durations"] = sorted({1, *(d for d, times in count.items() if times >= RARE * count.total())})
            fitted = cls(**{**found, **options})
            tokens = sum(times * len(fitted._said_in(duration)) for duration, times in count.items())
            steps = sum(times * duration for duration, times in count.items())
            found["steps_per_token"] = round(steps / tokens, 2)
        return cls(**{**found, **options})

    def to_dict(self) -> dict[str, Any]:
        """Options that build this tokenizer again."""
        return {**super().to_dict(), "durations": list(self.durations), "steps_per_token": self.steps_per_token}

    def encode(self, piece: Piece) -> list[int]:
        """Tokens of a monophonic piece: START, its notes and rests, END.

        Of notes that fall on one step after rounding the last one stays; a note ends where the next begins.

        Raises
        ------
        PieceRefused
            No notes, a metre or a pitch outside the vocabulary, or too many onsets off the grid.
        """
        self._check(piece)
        time, said, end = self._line(piece)
        rows = np.where(said == REST, REST_ROW, FIRST_PITCH_ROW + said - self.low)
        tokens = [self.start_ids[piece.metre]]
        for row, duration in zip(rows.tolist(), np.diff(time, append=end).tolist(), strict=True):
            tokens += self._spelt(row, duration)
        return [*tokens, self.end_id]

    def decode(self, ids: Sequence[int]) -> Piece:
        """Read any ids as a piece; the same reading as `melodies`.

        A leading START gives the metre. END or PAD ends the reading. A hold at the beginning is silence; what is no
        note, rest or hold is passed over.
        """
        metre, tokens = self._opened(ids)
        tokens = tokens[(tokens >= 0) & (tokens < self.end_id)]
        duration, rows = self._durations_of(tokens), tokens // len(self.durations)
        event = rows != HOLD_ROW
        time = (np.cumsum(duration) - duration)[event]
        said = np.where(rows == REST_ROW, REST, rows - FIRST_PITCH_ROW + self.low)[event]
        notes = line_notes(time, said, duration.sum(), RESOLUTION / self.steps_per_quarter)
        return Piece(notes, RESOLUTION, metre=metre)

    def melodies(self, ids: Tensor, start: Tensor | None = None) -> Melodies:
        """Read a batch as melodies, without a loop over sequences.

        Parameters
        ----------
        ids : Tensor (B, T), int
            Tokens without START.
        start : Tensor (B,), int, optional
            START of each row, which gives its metre; the first metre where it is missing.

        Returns
        -------
        Melodies
            On the ids' device, with K = the largest number of notes in a row and S = T tokens of average length; notes
            that lie beyond are in no step.
        """
        import torch

        inside = self._inside(ids) & (ids >= 0) & (ids < self.end_id)
        tokens = torch.where(inside, ids, 0)
        rows = tokens // len(self.durations)
        lengths = torch.tensor(self.durations, device=ids.device)[tokens % len(self.durations)] * inside
        return line_melodies(
            inside & (rows != HOLD_ROW),
            torch.where(rows == REST_ROW, REST, rows - FIRST_PITCH_ROW + self.low),
            lengths.cumsum(1) - lengths,
            lengths.sum(1),
            width=melody_width(ids.shape[1], self.steps_per_token),
            steps_per_quarter=self.steps_per_quarter,
            metre=self._metres(ids, start),
        )

    def windows(self, ids: Sequence[int], length: int, *, every_bar: bool) -> np.ndarray:
        """Cut an encoded piece into windows that start at bar lines.

        A window holds T tokens, however long they last, and at least half of them from the piece; a piece shorter than
        that is one window.

        Parameters
        ----------
        ids : sequence of int
            What `encode` gave: START, tokens, END.
        length : int
            T, the tokens of a window.
        every_bar : bool
            A window from every bar line; otherwise windows follow each other without overlap, each from the first bar
            line at or after the end of the one before.

        Returns
        -------
        ndarray (n, T), int64
            Without START. What is held into a window is struck again at its start, for as long as it is still held; PAD
            follows END.
        """
        tokens = np.asarray(ids[1:], dtype=np.int64)
        bar = self._steps_per_bar(self._metre(ids[0]))
        return cut_bars(tokens.tolist(), self._bars(tokens, bar), length, self.pad_id, every_bar=every_bar)

    def bar_tokens(self, start: int, bars: float) -> None:
        """None: how long a token lasts is its own choice."""

    def _bars(self, tokens: Ints, bar: int) -> Iterator[tuple[int, list[int], int]]:
        """What a window from each bar line opens with; see `cut_bars`."""
        lengths = np.append(self._durations_of(tokens[:-1]), 0)  # END takes no time
        time = np.cumsum(lengths) - lengths
        rows = tokens // len(self.durations)
        events = np.flatnonzero((rows != HOLD_ROW) | (tokens == self.end_id))
        lines = np.arange(0, max(1, time[-1]), bar)
        places = np.searchsorted(time[:-1], lines, side="right") - 1
        for line, place in zip(lines.tolist(), places.tolist(), strict=True):
            following = bisect.bisect_right(events, place)
            if place < 0 or (time[place] == line and events[following - 1] == place):
                yield max(place, 0), [], max(place, 0)
            else:
                after = int(events[following])
                yield place, self._spelt(int(rows[events[following - 1]]), int(time[after]) - line), after

    def _spelt(self, row: int, duration: int) -> list[int]:
        """Tokens of a note or rest of any duration."""
        first, *rest = self._said_in(duration)
        width = len(self.durations)
        return [row * width + first, *(HOLD_ROW * width + place for place in rest)]

    def _said_in(self, duration: int) -> list[int]:
        """Places in the list of durations whose sum is a duration, the longest first."""
        places = []
        while duration:
            place = bisect.bisect_right(self.durations, duration) - 1
            times, duration = divmod(duration, self.durations[place])
            places += [place] * times
        return places

    def _durations_of(self, tokens: Ints) -> Ints:
        return np.array(self.durations, dtype=np.int64)[tokens % len(self.durations)]
