"""Notes and pieces as small immutable values, and the notes of a whole batch as tensors.

Nothing here reads files, knows tokens or imports torch when it runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    """

    onset: int
    duration: int
    pitch: int
    velocity: int = 80

    @property
    def end(self) -> int:
        """Tick at which the note stops."""
        return self.onset + self.duration


@dataclass(frozen=True, slots=True)
class Piece:
    """A tune: its notes in ticks, with what is needed to bar and to play them.

    Parameters
    ----------
    notes : tuple of Note
        Ordered by onset, then pitch. Tick 0 is a bar line; a pickup is preceded by silence.
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
    """

    notes: tuple[Note, ...]
    resolution: int = 480
    tempo: float = 120.0
    metre: tuple[int, int] = (4, 4)
    title: str = ""
    key: str | None = None

    @property
    def end(self) -> int:
        """Tick at which the last note stops; 0 for a piece without notes."""
        return max((note.end for note in self.notes), default=0)

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
    steps_per_quarter : int
        Grid steps in a quarter note.
    """

    pitch: Tensor
    onset: Tensor
    duration: Tensor
    mask: Tensor
    length: Tensor
    metre: Tensor
    steps: Tensor
    steps_per_quarter: int

    def __len__(self) -> int:
        return self.pitch.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Melodies:
        """The melodies of some rows."""
        return Melodies(
            self.pitch[rows],
            self.onset[rows],
            self.duration[rows],
            self.mask[rows],
            self.length[rows],
            self.metre[rows],
            self.steps[rows],
            self.steps_per_quarter,
        )
