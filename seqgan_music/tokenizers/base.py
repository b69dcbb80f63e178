"""What tokenizers share: START, END and PAD, metres and bars, quantization, and the reading of a line of events.

A *line* is music in which one pitch sounds at a time, as events: each says a pitch or `REST` from its time on, up to
the next event or the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.notes import HELD, OUTSIDE, REST, Melodies, Note, Notes, Piece

if TYPE_CHECKING:
    from torch import Tensor

Metre = tuple[int, int]
Ints = NDArray[np.int64]

RESOLUTION = 480
OFF_GRID_TOLERANCE = 0.1  # of a step: what rounding to ticks or a light swing of the clock may move


class Framed:
    """A vocabulary of music, then END, PAD and one START per metre.

    Parameters
    ----------
    metres : sequence of (int, int)
        Metres that have a START.

    Raises
    ------
    UsageError
        `metres` are none.
    """

    musical = True
    polyphonic = False

    def __init__(self, metres: Sequence[Sequence[int]]) -> None:
        self.metres = checked_metres(metres)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a tokenizer from `to_dict`'s values."""
        return cls(**values)

    def _frame(self, tokens: int) -> None:
        """Put END, PAD and STARTs after so many tokens of music."""
        self.end_id, self.pad_id = tokens, tokens + 1
        self.start_ids: Mapping[Metre, int] = {metre: tokens + 2 + i for i, metre in enumerate(self.metres)}
        self.vocab_size = tokens + 2 + len(self.metres)

    def _metre(self, start: int) -> Metre:
        return self.metres[start - self.pad_id - 1]

    def _opened(self, ids: Sequence[int]) -> tuple[Metre, Ints]:
        """The metre that a leading START gives, and what stands between it and END or PAD."""
        tokens = np.asarray(ids, dtype=np.int64).reshape(-1)
        metre = self.metres[0]
        if len(tokens) and self.pad_id < tokens[0] < self.vocab_size:
            metre, tokens = self._metre(int(tokens[0])), tokens[1:]
        closing = np.flatnonzero((tokens == self.end_id) | (tokens == self.pad_id))
        return metre, tokens[: closing[0]] if len(closing) else tokens

    def _inside(self, ids: Tensor) -> Tensor:
        """Which tokens (B, T) stand before END and PAD."""
        return ((ids == self.end_id) | (ids == self.pad_id)).cumsum(1) == 0

    def _metres(self, ids: Tensor, start: Tensor | None) -> Tensor:
        """Metres (B, 2) of rows."""
        import torch

        metres = torch.tensor(self.metres, device=ids.device)
        if start is None:
            return metres[:1].expand(len(ids), 2)
        return metres[(start - self.pad_id - 1).clamp(0, len(self.metres) - 1)]

    def _refuse_metre(self, piece: Piece) -> None:
        if piece.metre not in self.start_ids:
            known = ", ".join(f"{a}/{b}" for a, b in self.metres)
            raise PieceRefused("metre outside the vocabulary", "{}/{}, where there are {}".format(*piece.metre, known))


class OnGrid(Framed):
    """A tokenizer of notes on a grid of equal steps, each bar a whole number of them.

    Parameters
    ----------
    metres
        See `Framed`.
    steps_per_quarter : int
        Grid steps in a quarter note.
    low, high : int
        Lowest and highest MIDI pitch of the vocabulary.
    max_off_grid : float
        A piece with a larger share of its onsets off the grid is refused; onsets are rounded in any case.

    Raises
    ------
    UsageError
        An option out of its range.
    """

    def __init__(
        self,
        metres: Sequence[Sequence[int]],
        *,
        steps_per_quarter: int,
        low: int,
        high: int,
        max_off_grid: float,
    ) -> None:
        if not 1 <= steps_per_quarter <= 96:
            raise UsageError(f"tokenizer.steps_per_quarter must lie in 1..96, not {steps_per_quarter!r}")
        if not 0 <= low <= high <= 127:
            raise UsageError(f"tokenizer.low and high must satisfy 0 <= low <= high <= 127, not {low!r}, {high!r}")
        if not 0 <= max_off_grid <= 1:
            raise UsageError(f"tokenizer.max_off_grid must lie in 0..1, not {max_off_grid!r}")
        super().__init__(metres)
        self.steps_per_quarter = steps_per_quarter
        self.low, self.high = low, high
        self.max_off_grid = max_off_grid
        for metre in self.metres:
            self._steps_per_bar(metre)

    def to_dict(self) -> dict[str, Any]:
        """Options that build this tokenizer again."""
        return {
            "steps_per_quarter": self.steps_per_quarter,
            "low": self.low,
            "high": self.high,
            "metres": [list(metre) for metre in self.metres],
            "max_off_grid": self.max_off_grid,
        }

    def off_grid(self, piece: Piece) -> int:
        """Count the onsets that lie further from the grid than a tenth of a step."""
        steps = piece.notes.onset * self.steps_per_quarter / piece.resolution
        return int((np.abs(steps - np.round(steps)) > OFF_GRID_TOLERANCE).sum())

    def _check(self, piece: Piece, pitched: NDArray[np.bool_] | None = None) -> None:
        """Refuse what the grid cannot say; `pitched` are the notes (K,) whose range matters, all if left out."""
        if not piece.notes:
            raise PieceRefused("no notes")
        if piece.metre not in self.start_ids and steps_per_bar(piece.metre, self.steps_per_quarter) is None:
            detail = "a bar of {}/{} is no whole number of steps".format(*piece.metre)
            raise PieceRefused("bar lines off the grid", f"{detail} at {self.steps_per_quarter} a quarter")
        self._refuse_metre(piece)
        pitch = piece.notes.pitch if pitched is None else piece.notes.pitch[pitched]
        refuse_pitches(pitch, self.low, self.high)
        off = self.off_grid(piece)
        if off > self.max_off_grid * len(piece.notes):
            raise PieceRefused("rhythm off the grid", f"{off} of {len(piece.notes)} onsets")

    def _quantized(self, ticks: Ints, piece: Piece) -> Ints:
        """Ticks as steps, halves up."""
        return (ticks * (self.steps_per_quarter / piece.resolution) + 0.5).astype(np.int64)

    def _line(self, piece: Piece) -> tuple[Ints, Ints, int]:
        """Times and what is said from them on (both (E,), the first at 0), and the end, in steps.

        Of notes that fall on one step after rounding the last one stays; a note ends where the next begins.
        """
        onset = self._quantized(piece.notes.onset, piece)
        order = np.argsort(onset, kind="stable")
        order = order[np.append(np.diff(onset[order]) > 0, True)]
        onset = onset[order]
        end = np.maximum(onset + 1, self._quantized(piece.notes.end[order], piece))
        time, said = np.zeros((2, 1 + 2 * len(onset)), dtype=np.int64)  # silence, then each note and what follows it
        time[1::2], time[2::2] = onset, end
        said[:] = REST
        said[1::2] = piece.notes.pitch[order]
        kept = np.append(time[:-1] < time[1:], False)
        return time[kept], said[kept], int(end[-1])

    def _steps_per_bar(self, metre: Metre) -> int:
        steps = steps_per_bar(metre, self.steps_per_quarter)
        if steps is None:
            raise UsageError(
                f"tokenizer.metres: a bar of {metre[0]}/{metre[1]} is no whole number of steps "
                f"at {self.steps_per_quarter} a quarter"
            )
        return steps


def checked_metres(metres: Sequence[Sequence[int]]) -> tuple[Metre, ...]:
    """Metres as pairs.

    Raises
    ------
    UsageError
        There are none, one is no metre, or one stands twice.
    """
    try:
        pairs = tuple((int(numerator), int(denominator)) for numerator, denominator in metres)
    except (TypeError, ValueError):
        raise UsageError(f"tokenizer.metres must be pairs, such as [[6, 8], [2, 4]], not {metres!r}") from None
    if not pairs:
        raise UsageError("tokenizer.metres must name at least one metre, such as [[4, 4]]")
    for metre in pairs:
        if min(metre) < 1:
            raise UsageError("tokenizer.metres: {}/{} is no metre".format(*metre))
    if len(set(pairs)) < len(pairs):
        raise UsageError(f"tokenizer.metres must not name a metre twice, as {list(map(list, pairs))} do")
    return pairs


def common_metres(pieces: Iterable[Piece], steps_per_quarter: int | None = None) -> list[Metre]:
    """Metres of some pieces, the most frequent first.

    Metres whose bar is not a whole number of steps are left out, so that their pieces are refused with the reason.
    """
    count = Counter(
        piece.metre
        for piece in pieces
        if steps_per_quarter is None or steps_per_bar(piece.metre, steps_per_quarter) is not None
    )
    return [metre for metre, _ in sorted(count.items(), key=lambda item: (-item[1], item[0]))]


def refuse_pitches(pitch: Ints, low: int, high: int) -> None:
    """Raise `PieceRefused` for pitches (K,) outside a range."""
    outside = pitch[(pitch < low) | (pitch > high)]
    if len(outside):
        detail = f"{len(outside)} notes, for example MIDI {outside[0]}; the range is {low}..{high}"
        raise PieceRefused("pitch outside the vocabulary", detail)


def steps_per_bar(metre: Metre, steps_per_quarter: int) -> int | None:
    """Grid steps of a bar, or None where they are no whole number."""
    numerator, denominator = metre
    if numerator < 1 or denominator < 1:
        return None
    steps, remainder = divmod(4 * numerator * steps_per_quarter, denominator)
    return None if remainder else steps


def check_steps_per_token(steps_per_token: float) -> None:
    """Refuse a number of grid steps with which melodies would be too long to compare, or have none.

    Raises
    ------
    UsageError
    """
    if not 0.05 <= steps_per_token <= 100:
        raise UsageError(f"tokenizer.steps_per_token must lie in 0.05..100, not {steps_per_token!r}")


def melody_width(length: int, steps_per_token: float) -> int:
    """Grid steps of a melody of T tokens."""
    return max(1, round(length * steps_per_token)) if length else 0


# A line, read


def line_notes(time: Ints, said: Ints, end: float, ticks_per_step: float) -> Notes:
    """Notes of a line.

    Parameters
    ----------
    time, said : ndarray (E,)
        Steps, ascending; pitches or `REST`.
    end : float
        Steps.
    ticks_per_step : float
    """
    edges = np.rint(np.append(time, end) * ticks_per_step).astype(np.int64)
    table = np.zeros((len(time), 5), dtype=np.int64)
    table[:, 0], table[:, 1], table[:, 2], table[:, 3] = edges[:-1], np.diff(edges), said, Note(0, 0, 0).velocity
    return Notes.from_table(table[said != REST])


def line_melodies(
    event: Tensor, said: Tensor, time: Tensor, end: Tensor, *, width: int, steps_per_quarter: float, metre: Tensor
) -> Melodies:
    """Lines of a batch as melodies, without a loop over them.

    Parameters
    ----------
    event : Tensor (B, E), bool
        Where there is an event.
    said : Tensor (B, E), int
        Pitch or `REST` of each event.
    time : Tensor (B, E), int
        Step of each event: ascending, no two events in one step, none at or after the end.
    end : Tensor (B,), int
        Steps.
    width : int
        S; what is later is in no step.
    steps_per_quarter : float
    metre : Tensor (B, 2), int

    Returns
    -------
    Melodies
        On the events' device, with K = the largest number of notes in a row.
    """
    import torch

    rows, places = event.shape
    device = event.device
    struck = event & (said >= 0)

    # What sounds in a step was said by the latest event at or before it.
    place = torch.arange(places, device=device).expand(rows, places)
    mark = torch.full((rows, width + 1), -1, dtype=place.dtype, device=device)
    kept = event & (time < width)
    mark.scatter_(1, torch.where(kept, time, width), place)  # what is not kept goes to a column that is dropped
    latest = mark[:, :width].cummax(1).values if width else mark[:, :0]
    sounding = said.gather(1, latest.clamp(min=0)) if places else torch.full_like(latest, HELD)
    steps = torch.where(latest < 0, HELD, sounding)
    steps = torch.where(torch.arange(width, device=device) < end[:, None], steps, OUTSIDE)

    # A note lasts until the next event or the end.
    marks = torch.where(event, time, end[:, None])
    following = marks.flip(1).cummin(1).values.flip(1) if places else marks  # first event at or after each place
    following = torch.cat([following[:, 1:], end[:, None]], 1)[:, :places]
    count = struck.sum(1)
    # Trimming K needs the largest count on the host, which a GPU would have to wait for.
    most = places if event.is_cuda or not rows else int(count.max())
    mask = torch.arange(most, device=device) < count[:, None]  # (B, K)
    slot = torch.where(struck, struck.cumsum(1) - 1, most)

    def compact(values: Tensor) -> Tensor:
        packed = torch.zeros(rows, most + 1, dtype=values.dtype, device=device)
        return packed.scatter_(1, slot, torch.where(struck, values, 0))[:, :most] * mask

    return Melodies(
        pitch=compact(said),
        onset=compact(time) / steps_per_quarter,
        duration=compact(following - time) / steps_per_quarter,
        mask=mask,
        length=end / steps_per_quarter,
        metre=metre,
        steps=steps,
        steps_per_quarter=steps_per_quarter,
    )


# Windows


def cut_steps(tokens: Ints, lines: Ints, length: int, pad_id: int, *, every_bar: bool) -> tuple[Ints, Ints]:
    """Windows of a piece whose tokens are all equally long, and where they begin.

    Parameters
    ----------
    tokens : ndarray (L,)
        Without START.
    lines : ndarray
        Ascending: the tokens before which a bar line stands, the first 0.
    length : int
        T.
    pad_id : int
    every_bar : bool
        See `seqgan_music.tokenizers`.

    Returns
    -------
    windows : ndarray (n, T)
    first : ndarray (n,)
    """
    first = lines[lines < max(1, len(tokens) - length // 2)]
    if not every_bar:
        apart = [0]
        while (following := np.searchsorted(first, first[apart[-1]] + length)) < len(first):
            apart.append(int(following))
        first = first[apart]
    padded = np.concatenate([tokens, np.full(length, pad_id)])
    return np.lib.stride_tricks.sliding_window_view(padded, length)[first].copy(), first


def cut_bars(
    tokens: Sequence[int], bars: Iterator[tuple[int, list[int], int]], length: int, pad_id: int, *, every_bar: bool
) -> Ints:
    """Windows of a piece whose tokens are not equally long.

    Parameters
    ----------
    tokens : sequence of int
        Without START.
    bars : iterator of (int, list of int, int)
        For every bar line: the token that sounds there or begins, the tokens with which a window opens in place of
        what is held, and the token it goes on with.
    length : int
        T.
    pad_id : int
    every_bar : bool
        See `seqgan_music.tokenizers`.

    Returns
    -------
    ndarray (n, T)
    """
    windows: list[list[int]] = []
    free = 0  # the first token that is in no window yet
    for place, opening, rest in bars:
        left = len(opening) + len(tokens) - rest
        if (windows and left <= length // 2) or (not every_bar and place < free):
            continue
        window = [*opening, *tokens[rest : rest + length - min(length, len(opening))]][:length]
        windows.append(window + [pad_id] * (length - len(window)))
        free = max(place + 1, rest + length - len(opening))
    return np.array(windows, dtype=np.int64).reshape(-1, length)
