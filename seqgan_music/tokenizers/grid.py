"""The grid: one token for every sixteenth (or other step): *rest*, *hold* or a pitch.

Silence is one *rest* followed by *holds*, as a long note is one pitch followed by *holds*. With 36 steps and the range
C3 to A6 the vocabulary of notes is ORGAN's (Guimaraes et al. 2017, arXiv 1705.10843): 0 rest, 1 hold, then the pitches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.notes import HELD, OUTSIDE, REST, Melodies, Note, Notes, Piece

if TYPE_CHECKING:
    from torch import Tensor

REST_ID, HOLD_ID, FIRST_PITCH_ID = 0, 1, 2
RESOLUTION = 480
OFF_GRID_TOLERANCE = 0.1  # of a step: what rounding to ticks or a light swing of the clock may move


class GridTokenizer:
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
        if not 1 <= steps_per_quarter <= 96:
            raise UsageError(f"tokenizer.steps_per_quarter must lie in 1..96, not {steps_per_quarter!r}")
        if not 0 <= low <= high <= 127:
            raise UsageError(f"tokenizer.low and high must satisfy 0 <= low <= high <= 127, not {low!r}, {high!r}")
        if not 0 <= max_off_grid <= 1:
            raise UsageError(f"tokenizer.max_off_grid must lie in 0..1, not {max_off_grid!r}")
        if not metres:
            raise UsageError("tokenizer.metres must name at least one metre, such as [[4, 4]]")
        self.steps_per_quarter = steps_per_quarter
        self.low, self.high = low, high
        self.max_off_grid = max_off_grid
        try:
            self.metres = tuple((int(numerator), int(denominator)) for numerator, denominator in metres)
        except (TypeError, ValueError):
            raise UsageError(f"tokenizer.metres must be pairs, such as [[6, 8], [2, 4]], not {metres!r}") from None
        for metre in self.metres:
            self._steps_per_bar(metre)
        self.end_id = FIRST_PITCH_ID + high - low + 1
        self.pad_id = self.end_id + 1
        self.start_ids: Mapping[tuple[int, int], int] = {m: self.pad_id + 1 + i for i, m in enumerate(self.metres)}
        self.vocab_size = self.pad_id + 1 + len(self.metres)

    @classmethod
    def fit(cls, pieces: Iterable[Piece], **options: Any) -> GridTokenizer:
        """Choose range and metres that cover the pieces, unless the options name them.

        Metres whose bar is not a whole number of steps are left out, so that their pieces are refused with the reason.
        """
        steps_per_quarter = options.get("steps_per_quarter", cls().steps_per_quarter)
        pitches: set[int] = set()
        metres: Counter[tuple[int, int]] = Counter()
        for piece in pieces:
            pitches.update(note.pitch for note in piece.notes)
            if _steps_per_bar(piece.metre, steps_per_quarter) is not None:
                metres[piece.metre] += 1
        found: dict[str, Any] = {}
        if pitches:
            found |= {"low": min(pitches), "high": max(pitches)}
        if metres:
            found["metres"] = [metre for metre, _ in sorted(metres.items(), key=lambda item: (-item[1], item[0]))]
        return cls(**{**found, **options})

    def to_dict(self) -> dict[str, Any]:
        """Options that build this tokenizer again."""
        return {
            "steps_per_quarter": self.steps_per_quarter,
            "low": self.low,
            "high": self.high,
            "metres": [list(metre) for metre in self.metres],
            "max_off_grid": self.max_off_grid,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GridTokenizer:
        """Build a tokenizer from `to_dict`'s values."""
        return cls(**values)

    def off_grid(self, piece: Piece) -> int:
        """Count the onsets that lie further from the grid than a tenth of a step."""
        onsets = np.array([note.onset for note in piece.notes], dtype=np.float64)
        steps = onsets * self.steps_per_quarter / piece.resolution
        return int((np.abs(steps - np.round(steps)) > OFF_GRID_TOLERANCE).sum())

    def encode(self, piece: Piece) -> list[int]:
        """Tokens of a monophonic piece: START, one token per step to the end of the last note, END.

        Of notes that fall on one step after rounding the last one stays; a note ends where the next begins.

        Raises
        ------
        PieceRefused
            No notes, a metre or a pitch outside the vocabulary, or too many onsets off the grid.
        """
        if not piece.notes:
            raise PieceRefused("no notes")
        if piece.metre not in self.start_ids:
            name = "{}/{}".format(*piece.metre)
            if _steps_per_bar(piece.metre, self.steps_per_quarter) is None:
                detail = f"a bar of {name} is no whole number of steps at {self.steps_per_quarter} a quarter"
                raise PieceRefused("bar lines off the grid", detail)
            raise PieceRefused("metre outside the vocabulary", name)
        outside = [note.pitch for note in piece.notes if not self.low <= note.pitch <= self.high]
        if outside:
            detail = f"{len(outside)} notes, for example MIDI {outside[0]}; the range is {self.low}..{self.high}"
            raise PieceRefused("pitch outside the vocabulary", detail)
        off = self.off_grid(piece)
        if off > self.max_off_grid * len(piece.notes):
            raise PieceRefused("rhythm off the grid", f"{off} of {len(piece.notes)} onsets")
        scale = self.steps_per_quarter / piece.resolution
        starts = {int(note.onset * scale + 0.5): note for note in piece.notes}
        onsets = sorted(starts)
        ends = [max(onset + 1, int(starts[onset].end * scale + 0.5)) for onset in onsets]
        tokens = np.full(ends[-1], HOLD_ID, dtype=np.int64)
        tokens[0] = REST_ID
        for onset, end, following in zip(onsets, ends, [*onsets[1:], ends[-1]], strict=True):
            tokens[onset] = FIRST_PITCH_ID + starts[onset].pitch - self.low
            if end < following:
                tokens[end] = REST_ID
        return [self.start_ids[piece.metre], *tokens.tolist(), self.end_id]

    def decode(self, ids: Sequence[int]) -> Piece:
        """Read any ids as a piece; the same reading as `melodies`.

        A leading START gives the metre. END or PAD ends the reading. Any other id that is neither rest nor pitch holds
        what sounds, and nothing at the beginning.
        """
        tokens = [int(token) for token in ids]
        metre = self.metres[0]
        if tokens and tokens[0] in self.start_ids.values():
            metre = self.metres[tokens.pop(0) - self.pad_id - 1]
        notes: list[Note] = []
        pitch, onset, step = None, 0, 0
        ticks = RESOLUTION / self.steps_per_quarter

        def strike(until: int) -> None:
            if pitch is not None:
                begin = round(onset * ticks)
                notes.append(Note(begin, round(until * ticks) - begin, pitch))

        for token in tokens:
            if token in (self.end_id, self.pad_id):
                break
            if token == REST_ID:
                strike(step)
                pitch = None
            elif FIRST_PITCH_ID <= token < self.end_id:
                strike(step)
                pitch, onset = token - FIRST_PITCH_ID + self.low, step
            step += 1
        strike(step)
        return Piece(Notes(notes), RESOLUTION, metre=metre)

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

        rows, width = ids.shape
        device = ids.device
        step = torch.arange(width, device=device).expand(rows, width)  # (B, T)
        closing = (ids == self.end_id) | (ids == self.pad_id)
        length = torch.where(closing, step, width).amin(1) if width else ids.new_zeros(rows)  # (B,), steps
        inside = step < length[:, None]
        struck = (ids >= FIRST_PITCH_ID) & (ids < self.end_id) & inside
        event = struck | ((ids == REST_ID) & inside)

        # What sounds in a step was said by the latest event at or before it.
        latest = torch.where(event, step, -1).cummax(1).values
        said = torch.where(struck, ids - FIRST_PITCH_ID + self.low, REST)
        sounding = torch.where(latest < 0, HELD, said.gather(1, latest.clamp(min=0)))
        steps = torch.where(inside, sounding, OUTSIDE)

        # A note lasts until the next event or the end.
        marks = torch.where(event, step, length[:, None])
        following = marks.flip(1).cummin(1).values.flip(1)  # first event at or after each step
        following = torch.cat([following[:, 1:], length[:, None]], 1) if width else following
        count = struck.sum(1)
        # Trimming K needs the largest count on the host, which a GPU would have to wait for.
        most = width if ids.is_cuda or not rows else int(count.max())
        mask = torch.arange(most, device=device) < count[:, None]  # (B, K)
        place = torch.where(struck, struck.cumsum(1) - 1, most)  # what is no note goes to a column that is dropped

        def compact(values: Tensor) -> Tensor:
            packed = torch.zeros(rows, most + 1, dtype=values.dtype, device=device)
            return packed.scatter_(1, place, torch.where(struck, values, 0))[:, :most] * mask

        metres = torch.tensor(self.metres, device=device)
        if start is None:
            metre = metres[:1].expand(rows, 2)
        else:
            metre = metres[(start - self.pad_id - 1).clamp(0, len(self.metres) - 1)]
        return Melodies(
            pitch=compact(steps),
            onset=compact(step) / self.steps_per_quarter,
            duration=compact(following - step) / self.steps_per_quarter,
            mask=mask,
            length=length / self.steps_per_quarter,
            metre=metre,
            steps=steps,
            steps_per_quarter=self.steps_per_quarter,
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
        bar = self._steps_per_bar(self.metres[ids[0] - self.pad_id - 1])
        tokens = np.asarray(ids[1:], dtype=np.int64)
        stride = bar if every_bar else -(-length // bar) * bar
        first = np.arange(0, max(1, len(tokens) - length // 2), stride)
        padded = np.concatenate([tokens, np.full(length, self.pad_id)])
        cut: np.ndarray = np.lib.stride_tricks.sliding_window_view(padded, length)[first].copy()
        event = np.where(tokens != HOLD_ID, np.arange(len(tokens)), 0)
        cut[:, 0] = tokens[np.maximum.accumulate(event)[first]]
        return cut

    def bar_tokens(self, start: int, bars: int) -> int:
        """Tokens that fill `bars` bars in the metre of a START."""
        return self._steps_per_bar(self.metres[start - self.pad_id - 1]) * bars

    def _steps_per_bar(self, metre: tuple[int, int]) -> int:
        steps = _steps_per_bar(metre, self.steps_per_quarter)
        if steps is None:
            raise UsageError(
                f"tokenizer.metres: a bar of {metre[0]}/{metre[1]} is no whole number of steps "
                f"at {self.steps_per_quarter} a quarter"
            )
        return steps


def _steps_per_bar(metre: tuple[int, int], steps_per_quarter: int) -> int | None:
    numerator, denominator = metre
    if numerator < 1 or denominator < 1:
        return None
    steps, remainder = divmod(4 * numerator * steps_per_quarter, denominator)
    return None if remainder else steps
