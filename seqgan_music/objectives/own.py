"""Objectives of one's own: code outside the package, made safe to train with.

``./mine.py:warmth`` or ``package.module:warmth`` may be a class as the built-in ones are, a function of `Melodies`, or
a function of one `Piece`. What it gives is checked at every call. A function of a piece is asked once for every melody
that is new, by its notes and its metre, and never for a melody without notes, which is undefined.

See ``docs/extending/objective.md``.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import math
import numbers
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seqgan_music import registry
from seqgan_music.errors import Failure, UsageError
from seqgan_music.notes import Melodies, Note, Notes, Piece
from seqgan_music.objectives import OBJECTIVES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqgan_music.objectives import Objective

RESOLUTION = 480
REMEMBERED = 1 << 17  # melodies; some 25 megabytes
ROUNDING = 1e-5  # what a sum may lie outside [0, 1] by
SHOWN_NOTES = 8
HOW = "write `def {attribute}(piece: Piece) -> float | None` or `def {attribute}(melodies: Melodies) -> Tensor`"
_PITCH_CLASSES = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]


class OwnCodeFailure(Failure):
    """Code outside the package raised, or gave something else than it should."""


def load(name: str, *, own_code: bool) -> Objective:
    """The objective of one's own that a name stands for.

    Parameters
    ----------
    name : str
        ``./file.py:attribute`` or ``module:attribute``.
    own_code : bool
        Whether the user gave it now, so that it may be loaded.

    Raises
    ------
    UsageError
        It cannot be loaded, is no function or class, or does not take what it would be given.
    """
    found = registry.resolve(OBJECTIVES, "objective", name, own_code=own_code)
    attribute = name.rpartition(":")[2]
    if isinstance(found, type):
        try:
            found = found()
        except (Exception, SystemExit) as error:  # whatever a user's class raises is that class's fault, and is said so
            raise UsageError(
                f"objective {name!r}: the class cannot be made without arguments: {_said(error, found)}"
            ) from error
    if not callable(found):
        raise UsageError(f"objective {name!r} is neither a function nor a class with __call__")
    return (OfPiece if _parameter(found, name, attribute) == "piece" else OfMelodies)(found, name)


class _Own:
    """What both kinds have: a title, a description, and messages that name the code."""

    per_piece = False

    def __init__(self, function: Callable[[Any], Any], name: str) -> None:
        self.function = function
        self.name = name
        attribute = name.rpartition(":")[2]
        self.title = str(getattr(function, "title", attribute.replace("_", " ")))
        self.description = str(getattr(function, "description", registry.describe(function).rstrip("."))) or name

    def _failure(self, what: str, about: str) -> OwnCodeFailure:
        return OwnCodeFailure(f"objective {self.name!r} {what}, for {about}")

    def _raised(self, error: BaseException, about: str) -> OwnCodeFailure:
        return self._failure(f"raised {_said(error, self.function)}", about)


class OfMelodies(_Own):
    """A function of a batch of melodies, or a class as the built-in objectives are.

    Parameters
    ----------
    function : callable
        `Melodies` to a float Tensor (B,) in [0, 1], NaN where undefined.
    name : str
        For messages.
    """

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1], NaN where undefined.

        Raises
        ------
        OwnCodeFailure
            The function raised, or gave something else.
        """
        batch = f"a batch of {len(melodies)} melodies"
        try:
            with torch.no_grad():
                values = self.function(melodies)
        except (
            Exception,
            SystemExit,
        ) as error:  # whatever it raises is its own fault, and is said so
            raise self._raised(error, batch) from error
        if not isinstance(values, Tensor):
            raise self._failure(f"gave {_kind(values)} where a tensor of floats is due, a value a melody", batch)
        if values.shape != (len(melodies),) or not values.is_floating_point():
            shape = tuple(values.shape)
            raise self._failure(
                f"gave a tensor of shape {shape}, {values.dtype}, where floats ({len(melodies)},) are due", batch
            )
        values = values.detach().to(melodies.pitch.device, torch.float32)
        outside = (values < -ROUNDING) | (values > 1 + ROUNDING)  # of NaN neither is true
        if outside.any():
            row = int(outside.nonzero()[0])
            raise self._failure(
                f"gave {values[row].item():g}, which lies outside [0, 1]",
                _melody(_piece(*next(_rows(melodies[row : row + 1])))),
            )
        return values.clamp(0, 1)


class OfPiece(_Own):
    """A function of one piece, called for every melody that it has not seen.

    Parameters
    ----------
    function : callable
        `Piece` to a number in [0, 1], or to None or NaN where undefined.
    name : str
        For messages.

    Attributes
    ----------
    melodies : int
        How many were scored.
    calls : int
        How often the function was called for them.
    seconds : float
        How long that took.
    """

    per_piece = True

    def __init__(self, function: Callable[[Any], Any], name: str) -> None:
        super().__init__(function, name)
        self.melodies, self.calls, self.seconds = 0, 0, 0.0
        self._known: dict[bytes, float] = {}  # the last used last

    @property
    def seconds_each(self) -> float | None:
        """Mean time of a call so far; None before the first."""
        return self.seconds / self.calls if self.calls else None

    @property
    def cost(self) -> str | None:
        """Calls so far and their time in one line; None before the first."""
        if self.seconds_each is None:
            return None
        return (
            f"objective {self.name!r}: {self.calls:,} calls for {self.melodies:,} melodies, "
            f"{1000 * self.seconds_each:.3g} ms each, {self.seconds:.3g} s"
        )

    def __call__(self, melodies: Melodies) -> Tensor:
        """Values (B,) in [0, 1], NaN where undefined, on the melodies' device.

        Raises
        ------
        OwnCodeFailure
            The function raised, or gave something else.
        """
        values = [self._value(notes, metre) for notes, metre in _rows(melodies)]
        self.melodies += len(values)
        for key in list(itertools.islice(self._known, max(0, len(self._known) - REMEMBERED))):
            del self._known[key]
        return torch.tensor(values, dtype=torch.float32, device=melodies.pitch.device)

    def _value(self, notes: NDArray[np.int32], metre: tuple[int, int]) -> float:
        if not len(notes):
            return math.nan
        key = hashlib.blake2b(notes.tobytes() + repr(metre).encode(), digest_size=16).digest()
        value = self._known.pop(key, None)
        if value is None:
            value = self._asked(_piece(notes, metre))
        self._known[key] = value
        return value

    def _asked(self, piece: Piece) -> float:
        before = time.perf_counter()
        try:
            found = self.function(piece)
        except (
            Exception,
            SystemExit,
        ) as error:  # whatever it raises is its own fault, and is said so
            raise self._raised(error, _melody(piece)) from error
        self.seconds += time.perf_counter() - before
        self.calls += 1
        if found is None:
            return math.nan
        try:
            value = float(found) if isinstance(found, numbers.Real) or _is_real_scalar(found) else None
        except (TypeError, ValueError):
            value = None
        if value is None:
            raise self._failure(f"gave {_kind(found)} where a number is due, or None", _melody(piece))
        if not (math.isnan(value) or -ROUNDING <= value <= 1 + ROUNDING):
            raise self._failure(f"gave {value:g}, which lies outside [0, 1]", _melody(piece))
        return min(1.0, max(0.0, value)) if value == value else value


def _is_real_scalar(found: Any) -> bool:
    """Whether it is a tensor or an array of one real number."""
    if getattr(found, "shape", None) != ():
        return False
    return not found.is_complex() if isinstance(found, Tensor) else np.asarray(found).dtype.kind in "biuf"


def _parameter(function: Callable[..., Any], name: str, attribute: str) -> str:
    """What a function wants to be given: ``piece`` or ``melodies``; by its annotation, else by its parameter's name."""
    how = HOW.format(attribute=attribute)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise UsageError(f"objective {name!r} does not say what it takes; {how}") from None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not positional or (needed and needed != positional[:1]):
        raise UsageError(f"objective {name!r} must take one argument and takes {inspect.signature(function)}; {how}")
    one = positional[0]
    annotation = one.annotation if isinstance(one.annotation, str) else getattr(one.annotation, "__name__", "")
    wanted = {"Piece": "piece", "Melodies": "melodies"}.get(annotation.strip("'\"").rpartition(".")[2], one.name)
    if wanted not in ("piece", "melodies"):
        raise UsageError(f"objective {name!r} does not say what its argument {one.name!r} is; {how}")
    return wanted


def _rows(melodies: Melodies) -> Iterator[tuple[NDArray[np.int32], tuple[int, int]]]:
    """Of every melody of a batch the table of its notes (K, 5), as `Notes` has it, and its metre."""
    table: NDArray[np.int32] = np.zeros((*melodies.pitch.shape, 5), dtype=np.int32)
    table[..., 0] = (melodies.onset * RESOLUTION).round().cpu().numpy()
    table[..., 1] = (melodies.duration * RESOLUTION).round().cpu().numpy()
    table[..., 2] = melodies.pitch.cpu().numpy()
    table[..., 3] = Note(0, 0, 0).velocity
    counts, metres = melodies.mask.sum(1).tolist(), melodies.metre.tolist()
    for rows, count, (numerator, denominator) in zip(table, counts, metres, strict=True):
        yield rows[:count], (numerator, denominator)


def _piece(notes: NDArray[np.int32], metre: tuple[int, int]) -> Piece:
    return Piece(Notes.from_table(notes), RESOLUTION, metre=metre)


def _melody(piece: Piece) -> str:
    """A melody as a person may recognise it: its first notes and its metre."""
    notes = [f"{_PITCH_CLASSES[pitch % 12]}{pitch // 12 - 1}" for pitch in piece.notes.pitch[:SHOWN_NOTES].tolist()]
    more = " ..." if len(piece.notes) > SHOWN_NOTES else ""
    return "the melody {}{} in {}/{}".format(" ".join(notes) or "without notes", more, *piece.metre)


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _said(error: BaseException, code: Any) -> str:
    """What was raised, in one line, and in which line of the user's code."""
    function = inspect.unwrap(code) if inspect.isroutine(code) or isinstance(code, type) else type(code)
    try:
        file = inspect.getsourcefile(function)
    except TypeError:
        file = None
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    message = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' if message else ''}{message}{f' (line {lines[-1]})' if lines else ''}"
