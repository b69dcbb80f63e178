"""Notes and pieces as small immutable values, and the notes of a whole batch as tensors.

Nothing here reads files, knows tokens or imports torch when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

REST = -1
"""In `Melodies.steps`: silence."""
HELD = -2
"""In `Melodies.steps`: held from before the window, so the pitch is not known."""
OUTSIDE = -3
"""In `Melodies.steps`: after the end of the melody."""


@dataclass(frozen=True, slots=True)
class Note:
    """One sounding note.

    Parameters
    ----------
    onset, duration : int
        In ticks from the first bar line; the piece's `resolution` says how many make a quarter note.
    pitch : int
        MIDI number, 0 to 127; 60 is middle C.
    velocity : int
        MIDI velocity, 1 to 127.
    part : int
        Which of the piece's `parts` plays it.
    """

    onset: int
    duration: int
    pitch: int
    velocity: int = 80
    part: int = 0

    @property
    def end(self) -> int:
        """Tick at which the note stops."""
        return self.onset + self.duration


class Notes(Sequence[Note]):
    """An immutable sequence of `Note`, kept as one small table.

    Parameters
    ----------
    notes : iterable of Note
        In their order.
    """

    __slots__ = ("_table",)

    def __init__(self, notes: Iterable[Note] = ()) -> None:
        rows = [(note.onset, note.duration, note.pitch, note.velocity, note.part) for note in notes]
        self._table = np.array(rows, dtype=np.int32).reshape(-1, 5)

    @classmethod
    def from_table(cls, table: NDArray[Any]) -> Notes:
        """From integers (K, 5): the fields of each `Note`."""
        made = cls.__new__(cls)
        made._table = np.ascontiguousarray(table, dtype=np.int32).reshape(-1, 5)
        return made

    @property
    def table(self) -> NDArray[np.int64]:
        """The fields of every note (K, 5): onset, duration, pitch, velocity, part."""
        return self._table.astype(np.int64)

    @property
    def onset(self) -> NDArray[np.int64]:
        """Ticks (K,)."""
        return self._table[:, 0].astype(np.int64)

    @property
    def duration(self) -> NDArray[np.int64]:
        """Ticks (K,)."""
        return self._table[:, 1].astype(np.int64)

    @property
    def end(self) -> NDArray[np.int64]:
        """Ticks (K,) at which the notes stop."""
        return self.onset + self.duration

    @property
    def pitch(self) -> NDArray[np.int64]:
        """MIDI numbers (K,)."""
        return self._table[:, 2].astype(np.int64)

    @property
    def part(self) -> NDArray[np.int64]:
        """Numbers of the parts (K,)."""
        return self._table[:, 4].astype(np.int64)

    def tobytes(self) -> bytes:
        """Equal bytes are equal notes."""
        return self._table.tobytes()

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Note]:
        return (Note(*row) for row in self._table.tolist())

    @overload
    def __getitem__(self, index: int) -> Note: ...
    @overload
    def __getitem__(self, index: slice) -> Notes: ...
    def __getitem__(self, index: int | slice) -> Note | Notes:
        if isinstance(index, slice):
            return Notes.from_table(self._table[index])
        return Note(*self._table[index].tolist())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Notes):
            return np.array_equal(self._table, other._table)
        return tuple(self) == other

    def __hash__(self) -> int:
        return hash(tuple(self))  # that of the tuple to which it is equal

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return Notes.from_table, (self._table,)


@dataclass(frozen=True, slots=True)
class Part:
    """One voice or instrument of a piece.

    Parameters
    ----------
    program : int
        General MIDI instrument, 0 to 127.
    drums : bool
        Its pitches are drums.
    name : str
        As the file names the track.
    """

    program: int = 0
    drums: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """A tune, or a score of several parts: notes in ticks, with what is needed to bar and to play them.

    Parameters
    ----------
    notes : Notes
        Ordered by onset, then pitch, then part; any iterable of `Note` is taken. Tick 0 is a bar line; a pickup is
        preceded by silence.
    resolution : int
        Ticks in a quarter note.
    tempo : float
        Quarter notes in a minute.
    metre : tuple of int
        Numerator and denominator of the time signature, such as ``(6, 8)``.
    title : str
        Free text; used in file names and reports.
    key : str or None
        Tonic and mode, such as ``"F# minor"`` or ``"B- major"`` (``-`` is a flat), or None where not known.
    parts : tuple of Part
        What plays the notes; a tune has one.
    """

    notes: Notes
    resolution: int = 480
    tempo: float = 120.0
    metre: tuple[int, int] = (4, 4)
    title: str = ""
    key: str | None = None
    parts: tuple[Part, ...] = (Part(),)

    def __post_init__(self) -> None:
        if not isinstance(self.notes, Notes):
            object.__setattr__(self, "notes", Notes(self.notes))

    @property
    def end(self) -> int:
        """Tick at which the last note stops; 0 for a piece without notes."""
        return int(self.notes.end.max(initial=0))

    @property
    def ticks_per_bar(self) -> float:
        """Length of a bar in ticks."""
        numerator, denominator = self.metre
        return self.resolution * 4 * numerator / denominator


@dataclass(frozen=True, slots=True, eq=False)
class Melodies:
    """The notes of a batch of melodies: everything an objective or a metric may want.

    B melodies, at most K notes each, S grid steps. Fields are tensors on one device.

    Parameters
    ----------
    pitch : Tensor (B, K), int64
        MIDI numbers; 0 where `mask` is False.
    onset, duration : Tensor (B, K), float
        In quarter notes from the start of the melody; 0 where `mask` is False.
    mask : Tensor (B, K), bool
        True for a note; the notes of a melody come first, in the order of their onsets.
    length : Tensor (B,), float
        Length of each melody in quarter notes, closing rests included.
    metre : Tensor (B, 2), int64
        Numerator and denominator of each melody's time signature.
    steps : Tensor (B, S), int64
        MIDI number that sounds in each grid step, or `REST`, `HELD` or `OUTSIDE`.
    steps_per_quarter : float
        Grid steps in a quarter note; a whole number but for tokens of other steps than a quarter note's parts.
    """

    pitch: Tensor
    onset: Tensor
    duration: Tensor
    mask: Tensor
    length: Tensor
    metre: Tensor
    steps: Tensor
    steps_per_quarter: float

    def __len__(self) -> int:
        return self.pitch.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Melodies:
        """The melodies of some rows."""
        return self._each(lambda values: values[rows])

    def to(self, device: str) -> Melodies:
        """The same on a device."""
        return self._each(lambda values: values.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Melodies:
        return Melodies(
            change(self.pitch),
            change(self.onset),
            change(self.duration),
            change(self.mask),
            change(self.length),
            change(self.metre),
            change(self.steps),
            self.steps_per_quarter,
        )
