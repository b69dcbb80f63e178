"""The grid: one token for every sixteenth (or other step): *rest*, *hold* or a pitch.

Silence is one *rest* followed by *holds*, as a long note is one pitch followed by *holds*. With 36 steps and the range
C3 to A6 the vocabulary of notes is ORGAN's (Guimaraes et al. 2017, arXiv 1705.10843): 0 rest, 1 hold, then the pitches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_music.notes import REST, Melodies, Piece
from seqgan_music.tokenizers.base import RESOLUTION, OnGrid, common_metres, cut_steps, line_melodies, line_notes

if TYPE_CHECKING:
    from torch import Tensor

REST_ID, HOLD_ID, FIRST_PITCH_ID = 0, 1, 2


class GridTokenizer(OnGrid):
    """One token per grid step: rest, hold or pitch.

    Token ids: 0 rest, 1 hold, 2 ... the pitches from `low` to `high`, then END, PAD and one START per metre.

    Parameters
    ----------
    steps_per_quarter : int
        Grid steps in a quarter note; 4 makes them sixteenths.
    low, high : int
        Lowest and highest MIDI pitch of the vocabulary.
    metres : sequence of (int, int)
        Metres that have a START.
    max_off_grid : float
        A piece with a larger share of its onsets off the grid is refused; onsets are rounded in any case.

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
        metres: Sequence[Sequence[int]] = ((4, 4),),
        max_off_grid: float = 0.2,
    ) -> None:
        super().__init__(metres, steps_per_quarter=steps_per_quarter, low=low, high=high, max_off_grid=max_off_grid)
        self._frame(FIRST_PITCH_ID + high - low + 1)

    @classmethod
    def fit(cls, pieces: Iterable[Piece], **options: Any) -> GridTokenizer:
        """Choose range and metres that cover the pieces, unless the options name them.

        Metres whose bar is not a whole number of steps are left out, so that their pieces are refused with the reason.
        """
        pieces = list(pieces)
        found: dict[str, Any] = {}
        if pitches := [piece.notes.pitch for piece in pieces if piece.notes]:
            found |= {"low": min(int(p.min()) for p in pitches), "high": max(int(p.max()) for p in pitches)}
        if metres := common_metres(pieces, options.get("steps_per_quarter", cls().steps_per_quarter)):
            found["metres"] = metres
        return cls(**{**found, **options})

    def encode(self, piece: Piece) -> list[int]:
        """Tokens of a monophonic piece: START, one token per step to the end of the last note, END.

        Of notes that fall on one step after rounding the last one stays; a note ends where the next begins.

        Raises
        ------
        PieceRefused
            No notes, a metre or a pitch outside the vocabulary, or too many onsets off the grid.
        """
        self._check(piece)
        time, said, end = self._line(piece)
        tokens = np.full(end, HOLD_ID, dtype=np.int64)
        tokens[time] = np.where(said == REST, REST_ID, FIRST_PITCH_ID + said - self.low)
        return [self.start_ids[piece.metre], *tokens.tolist(), self.end_id]

    def decode(self, ids: Sequence[int]) -> Piece:
        """Read any ids as a piece; the same reading as `melodies`.

        A leading START gives the metre. END or PAD ends the reading. Any other id that is neither rest nor pitch holds
        what sounds, and nothing at the beginning.
        """
        metre, tokens = self._opened(ids)
        pitched = (tokens >= FIRST_PITCH_ID) & (tokens < self.end_id)
        time = np.flatnonzero(pitched | (tokens == REST_ID))
        said = np.where(pitched, tokens - FIRST_PITCH_ID + self.low, REST)[time]
        notes = line_notes(time, said, len(tokens), RESOLUTION / self.steps_per_quarter)
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
            On the ids' device, with K = the largest number of notes in a row and S = T.
        """
        import torch

        inside = self._inside(ids)
        pitched = (ids >= FIRST_PITCH_ID) & (ids < self.end_id)
        return line_melodies(
            (pitched | (ids == REST_ID)) & inside,
            torch.where(pitched, ids - FIRST_PITCH_ID + self.low, REST),
            torch.arange(ids.shape[1], device=ids.device).expand(ids.shape),
            inside.sum(1),
            width=ids.shape[1],
            steps_per_quarter=self.steps_per_quarter,
            metre=self._metres(ids, start),
        )

    def windows(self, ids: Sequence[int], length: int, *, every_bar: bool) -> np.ndarray:
        """Cut an encoded piece into windows that start at bar lines.

        A window holds at least half its length of the piece, so that no window is mostly PAD; a piece shorter than
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
            Without START. A note held into a window is struck again at its start; PAD follows END.
        """
        tokens = np.asarray(ids[1:], dtype=np.int64)
        lines = np.arange(0, len(tokens), self._steps_per_bar(self._metre(ids[0])))
        cut, first = cut_steps(tokens, lines, length, self.pad_id, every_bar=every_bar)
        event = np.where(tokens != HOLD_ID, np.arange(len(tokens)), 0)
        cut[:, 0] = tokens[np.maximum.accumulate(event)[first]]
        return cut

    def bar_tokens(self, start: int, bars: float) -> int:
        """Tokens that fill `bars` bars in the metre of a START."""
        return round(self._steps_per_bar(self._metre(start)) * bars)
