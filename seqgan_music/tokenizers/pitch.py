"""Pitches alone: one of the 88 piano keys for every step, as in SeqGAN's music experiment (Yu et al., AAAI 2017).

The paper takes one pitch every 0.4 seconds and says neither what a rest nor what a repeated note becomes. Here a rest
repeats the last pitch, for 88 numbers leave no room for it, and before the first note there is the first pitch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.notes import Melodies, Piece
from seqgan_music.tokenizers.base import (
    OFF_GRID_TOLERANCE,
    RESOLUTION,
    Framed,
    Ints,
    Metre,
    common_metres,
    cut_steps,
    line_melodies,
    line_notes,
    refuse_pitches,
)

if TYPE_CHECKING:
    from torch import Tensor

LOWEST, HIGHEST = 21, 108  # the keys of a piano
PAPER_STEP = 0.4  # seconds
TEMPO = 120.0  # at which steps in seconds are written down, that of a `Piece`
SHORTEST, LONGEST = 1 / 64, 64.0  # steps, in seconds or quarter notes
ROUNDED = 0.51  # of a tick: what writing a note down may have moved it


class EncodedSteps(list[int]):
    """Token ids that know how long a bar of their piece is, which tokens of a fixed number of seconds do not say.

    Parameters
    ----------
    ids : iterable of int
    bar : float
        Steps in a bar.
    """

    def __init__(self, ids: Iterable[int], bar: float) -> None:
        super().__init__(ids)
        self.bar = bar


class PitchTokenizer(Framed):
    """One of 88 piano keys per step, without rests and repeated notes.

    Token ids: 0 ... 87 the MIDI pitches 21 to 108, then END, PAD and one START per metre.

    A step has the pitch that sounds when it begins. Lost are rests (the pitch before them goes on; before the first
    note it is the first pitch), the stroke of a note that repeats its predecessor's pitch, onsets between steps, and
    notes that sound between two steps alone; `loss` counts them.

    Parameters
    ----------
    step_seconds : float
        Length of a step at the piece's tempo. What is decoded is written down at 120 quarter notes a minute, at which
        0.4 seconds are 0.8 of a quarter note; at another tempo it lasts longer or shorter.
    step_quarters : float
        Length of a step in quarter notes, in place of the 0.4 seconds; 0 where the step is in seconds.
    metres : sequence of (int, int)
        Metres that have a START.

    Raises
    ------
    UsageError
        An option out of its range, or a step in seconds and in quarter notes.
    """

    def __init__(
        self,
        *,
        step_seconds: float = PAPER_STEP,
        step_quarters: float = 0.0,
        metres: Sequence[Sequence[int]] = ((4, 4),),
    ) -> None:
        if step_quarters and step_seconds == PAPER_STEP:
            step_seconds = 0.0
        if bool(step_seconds) == bool(step_quarters):
            raise UsageError(
                f"tokenizer.step_seconds={step_seconds!r} and step_quarters={step_quarters!r} cannot both "
                "hold; a step has one length above 0"
            )
        for name, step in (("step_seconds", step_seconds), ("step_quarters", step_quarters)):
            if step and not SHORTEST <= step <= LONGEST:
                raise UsageError(f"tokenizer.{name} must lie in {SHORTEST}..{LONGEST}, not {step!r}")
        super().__init__(metres)
        self._frame(HIGHEST - LOWEST + 1)
        self.step_seconds, self.step_quarters = step_seconds, step_quarters

    @classmethod
    def fit(cls, pieces: Iterable[Piece], **options: Any) -> PitchTokenizer:
        """Take the metres of the pieces, unless the options name them."""
        metres = common_metres(pieces)
        return cls(**{**({"metres": metres} if metres else {}), **options})

    @property
    def in_seconds(self) -> bool:
        """Whether a step has a length in seconds, so that its quarter notes depend on the tempo."""
        return bool(self.step_seconds)

    def to_dict(self) -> dict[str, Any]:
        """Options that build this tokenizer again."""
        return {
            "step_seconds": self.step_seconds,
            "step_quarters": self.step_quarters,
            "metres": [list(metre) for metre in self.metres],
        }

    def encode(self, piece: Piece) -> list[int]:
        """Tokens of a monophonic piece: START, one pitch per step to the end of the last note, END.

        Raises
        ------
        PieceRefused
            No notes, a pitch that no piano has, or a metre outside the vocabulary.
        """
        if not piece.notes:
            raise PieceRefused("no notes")
        refuse_pitches(piece.notes.pitch, LOWEST, HIGHEST)
        self._refuse_metre(piece)
        quarters = self._quarters(piece.tempo)
        sounding = self._sounding(piece)
        tokens = (piece.notes.pitch[sounding] - LOWEST).tolist()
        return EncodedSteps([self.start_ids[piece.metre], *tokens, self.end_id], _bar(piece.metre) / quarters)

    def loss(self, piece: Piece) -> dict[str, int]:
        """Count what `encode` drops.

        Parameters
        ----------
        piece : Piece
            Monophonic.

        Returns
        -------
        dict
            ``steps`` and ``notes`` of the piece; ``rests``: steps at which nothing sounds; ``between_steps``: notes
            whose onset moves, by more than a tenth of a step; ``unheard``: notes that no step takes; ``repeated``:
            notes that are heard, but go on from one with the same pitch.
        """
        step = piece.resolution * self._quarters(piece.tempo)
        onset, end = piece.notes.onset / step, piece.notes.end / step
        sounding = self._sounding(piece)
        at = np.arange(len(sounding))
        heard = sounding[np.append(True, np.diff(sounding) != 0)]
        moved = np.abs(onset - np.rint(onset)) > OFF_GRID_TOLERANCE
        near = ROUNDED / step
        silent = (end[sounding] <= at + near) | (onset[sounding] > at + near)
        return {
            "steps": len(sounding),
            "notes": len(piece.notes),
            "rests": int(silent.sum()),
            "between_steps": int(moved.sum()),
            "unheard": len(piece.notes) - len(heard),
            "repeated": int((np.diff(piece.notes.pitch[heard]) == 0).sum()),
        }

    def decode(self, ids: Sequence[int]) -> Piece:
        """Read any ids as a piece; the same reading as `melodies`.

        Equal successive pitches are one held note. A leading START gives the metre. END or PAD ends the reading. Any
        other id that is no pitch holds what sounds, and nothing at the beginning.
        """
        metre, tokens = self._opened(ids)
        time = np.flatnonzero((tokens >= 0) & (tokens < self.end_id))
        pitch = tokens[time] + LOWEST
        changed = np.diff(pitch, prepend=-1) != 0
        notes = line_notes(time[changed], pitch[changed], len(tokens), RESOLUTION * self._quarters(TEMPO))
        return Piece(notes, RESOLUTION, tempo=TEMPO, metre=metre)

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
            On the ids' device, with S = T: the steps of the melodies are those of the tokens. Times are in quarter
            notes, for steps in seconds those at tempo 120.
        """
        import torch

        inside = self._inside(ids)
        there = (ids >= 0) & (ids < self.end_id)
        step = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
        # The pitch said last before each step, to tell a new pitch from a held one.
        latest = torch.where(there, step, -1).cummax(1).values.roll(1, 1)
        latest[:, :1] = -1
        held = ids.gather(1, latest.clamp(min=0)) if ids.shape[1] else ids
        return line_melodies(
            there & inside & ((latest < 0) | (ids != held)),
            ids + LOWEST,
            step,
            inside.sum(1),
            width=ids.shape[1],
            steps_per_quarter=1 / self._quarters(TEMPO),
            metre=self._metres(ids, start),
        )

    def windows(self, ids: Sequence[int], length: int, *, every_bar: bool) -> np.ndarray:
        """Cut an encoded piece into windows that start at the steps nearest to bar lines.

        A window holds at least half its length of the piece; a piece shorter than that is one window.

        Parameters
        ----------
        ids : sequence of int
            What `encode` gave. Of a plain list, which knows no tempo, steps in seconds are taken as at tempo 120.
        length : int
            T, the tokens of a window.
        every_bar : bool
            A window from every bar line; otherwise windows follow each other without overlap, each from the first bar
            line at or after the end of the one before.

        Returns
        -------
        ndarray (n, T), int64
            Without START; PAD follows END.
        """
        bar = ids.bar if isinstance(ids, EncodedSteps) else _bar(self._metre(ids[0])) / self._quarters(TEMPO)
        tokens = np.asarray(ids[1:], dtype=np.int64)
        lines = np.unique(np.floor(np.arange(len(tokens) / bar + 1) * bar + 0.5).astype(np.int64))
        return cut_steps(tokens, lines, length, self.pad_id, every_bar=every_bar)[0]

    def bar_tokens(self, start: int, bars: float) -> int:
        """Tokens that fill `bars` bars in the metre of a START, to the nearest; steps in seconds at tempo 120."""
        return max(1, round(bars * _bar(self._metre(start)) / self._quarters(TEMPO)))

    def _quarters(self, tempo: float) -> float:
        """Quarter notes in a step."""
        return self.step_quarters or self.step_seconds * tempo / 60

    def _sounding(self, piece: Piece) -> Ints:
        """Which note gives its pitch to each step: the last that was struck before it or as it begins."""
        step = piece.resolution * self._quarters(piece.tempo)
        steps = max(1, int(np.ceil((piece.end - ROUNDED) / step)))
        onset = (piece.notes.onset - ROUNDED) / step
        return np.maximum(np.searchsorted(onset, np.arange(steps), side="right") - 1, 0)


def _bar(metre: Metre) -> float:
    """Quarter notes in a bar."""
    return 4 * metre[0] / metre[1]
