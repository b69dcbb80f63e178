"""MIDI files: `read` one into a `Piece`, `write` a `Piece` as one. The one module that imports pretty_midi.

Timing is counted in ticks against the quarter note, never in seconds, so that no tempo can move a note.
"""

from __future__ import annotations

import dataclasses
import difflib
import io
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqgan_music import melody
from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.files import write_whole
from seqgan_music.melody import Account, Selection
from seqgan_music.midi_events import MODES, SIGNATURES, one_line, parse
from seqgan_music.notes import Part, Piece

if TYPE_CHECKING:
    import mido

_MAX_TICK = 9_999_999  # pretty_midi takes anything later for corruption
_MAX_TEMPO = 0xFFFFFF  # microseconds in a quarter note: three bytes
_TRACK_LENGTH = 18  # where the first track says how long it is: after the header's 14 bytes and "MTrk"
_FIFTHS = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read.

    Parameters
    ----------
    track, program, skyline, monophonic_only
        Which notes are the melody; see `seqgan_music.melody.Selection`.
    max_bytes : int
        A larger file is refused.
    max_notes : int
        A file with more notes, all parts together, is refused.
    max_steps : int
        A melody that is longer, in sixteenth notes from its first bar line to its end, is refused.
    max_seconds : float
        Reading a file is given up after so long.

    Raises
    ------
    UsageError
        A value that cannot be meant.
    """

    track: str = ""
    program: int = -1
    skyline: bool = False
    monophonic_only: bool = False
    max_bytes: int = 4_000_000
    max_notes: int = 50_000
    max_steps: int = 16_384
    max_seconds: float = 10.0

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_notes", "max_steps", "max_seconds"):
            if not getattr(self, name) > 0:
                raise UsageError(f"reading.{name} must lie above 0, not {getattr(self, name)!r}")
        self.selection  # noqa: B018  refuses what cannot be meant

    @property
    def selection(self) -> Selection:
        """Which notes are the melody."""
        return Selection(self.track, self.program, self.skyline, self.monophonic_only)


def read(path: str | os.PathLike[str], *, title: str | None = None, reading: Reading | None = None) -> Piece:
    """Read the melody of a MIDI file.

    Parameters
    ----------
    path : path-like
        A MIDI file of format 0, 1 or 2.
    title : str, optional
        Title of the piece; the track name, or else the file's name, unless given.
    reading : Reading, optional
        Which notes are the melody, and limits.

    Returns
    -------
    Piece
        Monophonic, in the file's own resolution; `seqgan_music.melody` says how it is chosen.

    Raises
    ------
    PieceRefused
        With a reason, for whatever cannot be used.
    """
    path = Path(path)
    piece, _ = interpret(content_of(path, reading), reading)
    return titled(piece, one_line(path.stem) if title is None else title, replace=title is not None)


def interpret(content: bytes, reading: Reading | None = None, *, every_part: bool = False) -> tuple[Piece, Account]:
    """The piece in the bytes of a MIDI file, titled if the file has a title, and how it was had.

    Parameters
    ----------
    content : bytes
    reading : Reading, optional
    every_part : bool
        Keep all parts, drums too, in place of the melody alone.

    Raises
    ------
    PieceRefused
        With a reason, for whatever cannot be used.
    """
    reading = reading or Reading()
    score = parse(content, most_notes=reading.max_notes, seconds=reading.max_seconds)
    piece, account = melody.every_part(score) if every_part else melody.extract(score, reading.selection)
    steps = 4 * piece.end / piece.resolution
    if steps > reading.max_steps:
        raise PieceRefused("too long", f"{steps:,.0f} sixteenth notes; the limit is {reading.max_steps:,}")
    if piece.end > _MAX_TICK:  # what is read can be written again
        raise PieceRefused("too long", f"{piece.end:,} ticks; the limit is {_MAX_TICK:,}")
    name = "" if score.format == 2 else score.names[0]  # of format 2 that is another tune's
    if not name and (score.format == 2 or not every_part):
        name = piece.parts[0].name
    parts = piece.parts if every_part else (Part(piece.parts[0].program),)
    return _changed(piece, title=name, parts=parts), account


def titled(piece: Piece, title: str, *, replace: bool = False) -> Piece:
    """The piece with a title, if it has none or its own is to be replaced."""
    return piece if piece.title and not replace else _changed(piece, title=title)


def content_of(path: str | os.PathLike[str], reading: Reading | None = None) -> bytes:
    """The bytes of a file.

    Raises
    ------
    PieceRefused
        It is no file, larger than `reading` allows, or cannot be read.
    """
    path, limit = Path(path), (reading or Reading()).max_bytes
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise PieceRefused(
                "not a file", "a folder, a pipe or a broken link" if os.path.lexists(path) else "no such file"
            )
        size = path.stat().st_size
        if size > limit:
            raise PieceRefused("too large", f"{size:,} bytes; the limit is {limit:,}")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise PieceRefused("unreadable", getattr(error, "strerror", None) or str(error)) from error


def write(piece: Piece, path: str | os.PathLike[str]) -> None:
    """Write a piece as a MIDI file of format 1; the same piece always gives the same bytes.

    Parameters
    ----------
    piece : Piece
        Notes without duration are left out: in MIDI they would never end.
    path : path-like
        Replaced if it exists; left as it was if writing fails.

    Raises
    ------
    UsageError
        The piece holds a value that MIDI cannot express.
    Failure
        The file cannot be written.
    """
    write_whole(path, encode(piece))


def _changed(piece: Piece, **changes: Any) -> Piece:
    return dataclasses.replace(piece, **changes)


def _key_messages(key: str) -> list[mido.MetaMessage]:
    """The signature of a key, and its name as text where a signature cannot say it, as of ``"A dorian"``."""
    import mido

    tonic, _, mode = key.partition(" ")
    if tonic[:1] not in _FIFTHS or mode not in MODES:
        raise UsageError(f"key {key!r} is not a tonic and a mode, such as 'F# minor' or 'B- major'")
    sharps = _FIFTHS[tonic[0]] + 7 * (tonic.count("#") - tonic.count("-")) + MODES[mode]
    messages = []
    if -7 <= sharps <= 7:
        name = tonic.replace("-", "b") + "m" if mode == "minor" else SIGNATURES[sharps + 7].replace("-", "b")
        messages.append(mido.MetaMessage("key_signature", key=name))
    if mode not in {"major", "minor"} or not messages:
        messages.append(mido.MetaMessage("text", text=f"key: {key}"))
    return messages


def encode(piece: Piece) -> bytes:
    """A piece as the bytes of a MIDI file; see `write`."""
    import mido
    import pretty_midi

    _check(piece)
    microseconds = round(6e7 / piece.tempo)
    # pretty_midi rounds the length of a quarter note down; a quarter of a microsecond more keeps it the one meant.
    score = pretty_midi.PrettyMIDI(resolution=piece.resolution, initial_tempo=6e7 / (microseconds + 0.25))
    score.time_signature_changes.append(pretty_midi.TimeSignature(*piece.metre, 0))
    title = piece.title.encode("utf-8", "replace").decode("latin1")  # what most programs read names as
    score.tick_to_time(piece.end)  # the longest first, so that the table of times is made once
    for part in piece.parts:
        # A tune's track is named as the whole: many programs show that name alone.
        name = title if len(piece.parts) == 1 else part.name.encode("utf-8", "replace").decode("latin1")
        score.instruments.append(pretty_midi.Instrument(part.program, part.drums, name))
    for note in piece.notes:
        if note.duration > 0:
            begin, end = score.tick_to_time(note.onset), score.tick_to_time(note.end)
            score.instruments[note.part].notes.append(pretty_midi.Note(note.velocity, note.pitch, begin, end))
    stream = io.BytesIO()
    score.write(stream)
    # pretty_midi spells 24 keys of MIDI's 30, and names tracks but not the whole: that is put in front.
    first: list[mido.MetaMessage] = [mido.MetaMessage("track_name", name=title)] if title else []
    first += _key_messages(piece.key) if piece.key else []
    events = b"".join(b"\x00" + bytes(message.bytes()) for message in first)
    content = stream.getvalue()
    header, length, rest = content[:_TRACK_LENGTH], content[_TRACK_LENGTH:][:4], content[_TRACK_LENGTH + 4 :]
    return header + struct.pack(">L", struct.unpack(">L", length)[0] + len(events)) + events + rest


def _check(piece: Piece) -> None:
    """Refuse what MIDI has no number for, before any of it is written."""
    numerator, denominator = piece.metre
    onset, duration, pitch, velocity, part = piece.notes.table.T
    checks: Iterable[tuple[bool, str]] = (
        (
            all(0 <= one.program <= 127 for one in piece.parts),
            f"programs {[one.program for one in piece.parts]} are not within 0..127",
        ),
        (bool(((part >= 0) & (part < len(piece.parts))).all()), "a note belongs to none of its parts"),
        (1 <= piece.resolution <= 32767, f"resolution {piece.resolution} is not within 1..32767"),
        (
            piece.tempo > 0 and 1 <= round(6e7 / piece.tempo) <= _MAX_TEMPO,
            f"tempo {piece.tempo} is not within 3.58..60000000 quarter notes a minute",
        ),
        (
            1 <= numerator <= 255 and denominator in {1, 2, 4, 8, 16, 32, 64},
            f"metre {numerator}/{denominator} is no time signature",
        ),
        (piece.end <= _MAX_TICK, f"{piece.end:,} ticks are too long; the limit is {_MAX_TICK:,}"),
        (bool((onset >= 0).all() and (duration >= 0).all()), "a note starts or ends before time 0"),
        (bool(((pitch >= 0) & (pitch <= 127)).all()), "a pitch is not within 0..127"),
        (bool(((velocity >= 1) & (velocity <= 127)).all()), "a velocity is not within 1..127"),
    )
    for holds, complaint in checks:
        if not holds:
            raise UsageError(f"{piece.title or 'the piece'} cannot be written as MIDI: {complaint}")


def synthesize(piece: Piece, rate: int) -> NDArray[np.float64]:
    """A piece as decaying sine waves, by pretty_midi; drums are silent.

    Parameters
    ----------
    piece : Piece
    rate : int
        Samples in a second.

    Returns
    -------
    ndarray (samples,)
        Within [-1, 1]; empty for a piece without a note that sounds.

    Raises
    ------
    UsageError
        The piece holds a value that MIDI cannot express.
    """
    import pretty_midi

    score = pretty_midi.PrettyMIDI(io.BytesIO(encode(piece)))
    if not any(part.notes and not part.is_drum for part in score.instruments):
        return np.zeros(0)  # pretty_midi would divide by the largest sample
    waves: NDArray[np.float64] = score.synthesize(rate)
    return waves


def soundfont() -> Path:
    """The small General MIDI soundfont that pretty_midi brings."""
    import pretty_midi

    return Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")


def program_number(instrument: str | int) -> int:
    """The General MIDI program of an instrument, by its number (0 to 127) or its name.

    Upper and lower case, spaces and other signs do not matter in a name.

    Raises
    ------
    UsageError
        There is no such instrument.
    """
    import pretty_midi

    text = str(instrument).strip()
    if text.removeprefix("-").isdecimal():
        if not 0 <= int(text) <= 127:
            raise UsageError(f"program {text} is not within 0..127")
        return int(text)
    try:
        number: int = pretty_midi.instrument_name_to_program(text)
    except ValueError:
        close = difflib.get_close_matches(text.lower(), map(str.lower, pretty_midi.INSTRUMENT_MAP), 3, 0.5)
        near = f"; did you mean {' or '.join(map(repr, close))}?" if close else ", such as 'Violin' or 'Flute'"
        raise UsageError(f"{text!r} is no number and no instrument of General MIDI{near}") from None
    return number


def program_name(number: int) -> str:
    """What General MIDI calls a program, 0 to 127."""
    import pretty_midi

    name: str = pretty_midi.program_to_instrument_name(number)
    return name
