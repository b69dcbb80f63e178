"""MIDI files: `read` one into a `Piece`, `write` a `Piece` as one. The one module that imports pretty_midi.

Timing is counted in ticks against the quarter note, never in seconds, so that no tempo can move a note.
"""

from __future__ import annotations

import io
import os
import re
import struct
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import mido
import numpy as np
import pretty_midi
from mido.midifiles.meta import KeySignatureError, MetaSpec, add_meta_spec

from seqgan_music.errors import Failure, PieceRefused, UsageError
from seqgan_music.notes import Note, Notes, Piece

DRUM_CHANNEL = 9
MONOPHONIC_SHARE = 0.95
MELODY_NOTES = 16
"""A track with fewer notes is not taken for the melody because it is high."""

_MAX_BYTES = 4_000_000  # reading is slow in proportion, and a score of this size is no tune
_MAX_TICK = 9_999_999  # pretty_midi takes anything later for corruption
_MAX_TEMPO = 0xFFFFFF  # microseconds in a quarter note: three bytes
_DEFAULT_TEMPO = 500_000
_TRACK_LENGTH = 18  # where the first track says how long it is: after the header's 14 bytes and "MTrk"
_HEADER_WITHIN = 256  # RIFF and MacBinary put up to 128 bytes in front
_RUNAWAY = re.compile(rb"[\x80-\xff]{4096}")  # would be read as one number of thousands of digits
_SIGNATURES = ("Cb", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#")  # 7 flats to 7 sharps
_FIFTHS = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}
_MODES = {
    "lydian": 1,
    "major": 0,
    "mixolydian": -1,
    "dorian": -2,
    "minor": -3,
    "phrygian": -4,
    "locrian": -5,
}  # sharps against the major key of the same tonic
_KEY_TEXT = re.compile(rf"key: ([A-G](?:#+|-+)? (?:{'|'.join(_MODES)}))")
_BROKEN = (  # what mido and pretty_midi have been seen to raise on damaged files
    KeySignatureError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    struct.error,
)

_Value = TypeVar("_Value")


@dataclass(slots=True)
class _Events:
    """What a file says besides its notes; ticks are absolute."""

    tempi: list[tuple[int, int]] = field(default_factory=list)
    metres: list[tuple[int, tuple[int, int]]] = field(default_factory=list)
    keys: list[tuple[int, str | None]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    end: int = 0


def read(path: str | os.PathLike[str], *, title: str | None = None) -> Piece:
    """Read the melody of a MIDI file.

    The melody is, among the tracks that are no drums, the one with the highest mean pitch of those that are at least
    95 % monophonic and have 16 notes or more; where there is none, the skyline of the track with the most notes.
    Metre, tempo and key are the first ones the file states.

    Parameters
    ----------
    path : path-like
        A ``.mid`` file.
    title : str, optional
        Title of the piece; the track name, or else the file's name, unless given.

    Returns
    -------
    Piece
        Monophonic, in the file's own resolution.

    Raises
    ------
    PieceRefused
        With a reason, for whatever cannot be used.
    """
    path = Path(path)
    score = _parse(_content(path))
    if score.ticks_per_beat <= 0:
        what = "SMPTE time code" if score.ticks_per_beat < 0 else "0 ticks in a quarter note"
        raise PieceRefused("no quarter note", f"timing is in {what}")
    events = _events(score)
    metre = _metre(events)
    tracks = _tracks(score, events)
    if not tracks:
        raise PieceRefused("no notes", "no note is both struck and released")
    tracks = [track for track in tracks if not track.is_drum]
    if not tracks:
        raise PieceRefused("only drums", f"every note is on channel {DRUM_CHANNEL + 1}")
    track = _melody(tracks, score.ticks_per_beat)
    if title is None:  # the first track's name is that of the whole
        title = next(filter(None, map(_decoded, (events.names[0], track.name))), "") or _one_line(path.stem)
    return Piece(
        notes=Notes(_skyline(track.notes)),
        resolution=score.ticks_per_beat,
        tempo=_quarters_per_minute(_first(events.tempi, _DEFAULT_TEMPO)),
        metre=metre,
        title=title,
        key=_first(events.keys, None),
    )


def write(piece: Piece, path: str | os.PathLike[str], *, program: int = 0) -> None:
    """Write a piece as a MIDI file of format 1; the same piece always gives the same bytes.

    Parameters
    ----------
    piece : Piece
        Notes without duration are left out: in MIDI they would never end.
    path : path-like
        Replaced if it exists; left as it was if writing fails.
    program : int
        General MIDI instrument, 0 to 127.

    Raises
    ------
    UsageError
        The piece holds a value that MIDI cannot express.
    Failure
        The file cannot be written.
    """
    path = Path(path)
    content = _encode(piece, program)
    partial = path.with_name(f".{uuid.uuid4().hex}.part")  # hidden, so that nothing reads it for a tune
    try:
        with partial.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Failure(f"cannot write {path}: {error.strerror or error}") from error


# Reading


def write_all(pieces: Iterable[Piece], folder: str | os.PathLike[str]) -> None:
    """Write pieces into a folder, which is made if it is missing, each named by its title.

    Raises
    ------
    UsageError, Failure
        As `write`; or the folder cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot make the folder {folder}: {error.strerror}") from error
    for piece in pieces:
        write(piece, folder / f"{piece.title.replace(' ', '-')}.mid")


def _content(path: Path) -> bytes:
    """The bytes of a file from its MIDI header on."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise PieceRefused(
                "not a file", "a folder, a pipe or a broken link" if os.path.lexists(path) else "no such file"
            )
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise PieceRefused("too large", f"{size / 1e6:.1f} MB; a tune takes kilobytes")
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise PieceRefused("unreadable", getattr(error, "strerror", None) or str(error)) from error
    if not content:
        raise PieceRefused("empty file")
    start = content.find(b"MThd", 0, _HEADER_WITHIN)
    if start < 0:
        raise PieceRefused("not MIDI", f"starts with {content[:4]!r} where MIDI has b'MThd'")
    if _RUNAWAY.search(content):
        raise PieceRefused("broken MIDI", "thousands of bytes that are no events")
    return content[start:]


def _parse(content: bytes) -> mido.MidiFile:
    score = _parse_once(content)
    unknown = {m.type_byte for track in score.tracks for m in track if m.type == "unknown_meta"}
    if not unknown:
        return score
    # mido forgets the time before a meta event it does not know, so everything after it would come early.
    for type_byte in unknown:
        add_meta_spec(type(f"MetaSpec_meta_{type_byte:02x}", (_AnyMeta,), {"type_byte": type_byte}))
    return _parse_once(content)


class _AnyMeta(MetaSpec):  # type: ignore[misc]
    """A meta event of which only its length in time matters."""

    attributes = ("data",)
    defaults = ((),)

    def decode(self, message: mido.MetaMessage, data: list[int]) -> None:
        """Keep the bytes as they are."""
        message.data = tuple(data)

    def encode(self, message: mido.MetaMessage) -> list[int]:
        """Give the bytes back."""
        return list(message.data)


def _parse_once(content: bytes) -> mido.MidiFile:
    try:
        return mido.MidiFile(file=io.BytesIO(content), charset="latin1")  # every byte is a letter of latin1
    except EOFError as error:
        raise PieceRefused("cut short", "the file ends in the middle") from error
    except _BROKEN as error:
        raise PieceRefused("broken MIDI", str(error) or type(error).__name__) from error


def _events(score: mido.MidiFile) -> _Events:
    """Collect tempi, metres, keys and names from all tracks: many files state them elsewhere than in the first."""
    events = _Events()
    for track in score.tracks:
        tick, name = 0, ""
        for message in track:
            tick += message.time
            if message.type == "set_tempo" and message.tempo > 0:
                events.tempi.append((tick, message.tempo))
            elif message.type == "time_signature":
                events.metres.append((tick, (message.numerator, message.denominator)))
            elif message.type == "key_signature":
                events.keys.append((tick, _key_from_midi(message.key)))
            elif message.type == "text" and (named := _KEY_TEXT.fullmatch(message.text)):
                events.keys.insert(0, (0, named[1]))  # says more than the signature beside it
            elif message.type == "track_name":
                name = name or message.name
        events.names.append(name)
        events.end = max(events.end, tick)
    return events


def _first(stated: list[tuple[int, _Value]], default: _Value) -> _Value:
    """The value stated earliest; at the same tick, in the first track."""
    return min(stated, key=lambda event: event[0])[1] if stated else default


def _metre(events: _Events) -> tuple[int, int]:
    numerator, denominator = next((metre for tick, metre in events.metres if tick == 0), (4, 4))
    if numerator < 1 or denominator > 64:
        raise PieceRefused("impossible metre", f"time signature {numerator}/{denominator:.3g}")
    return numerator, denominator


@dataclass(frozen=True, slots=True)
class _Track:
    """The notes of one instrument, ordered by onset and pitch."""

    name: str
    is_drum: bool
    notes: tuple[Note, ...]


def _tracks(score: mido.MidiFile, events: _Events) -> list[_Track]:
    if events.end > _MAX_TICK:
        raise PieceRefused("too long", f"{events.end:,} ticks; the longest that is read is {_MAX_TICK:,}")
    resolution = score.ticks_per_beat
    bare = mido.MidiFile(ticks_per_beat=resolution, tracks=[_notes_only(track) for track in score.tracks])
    try:
        instruments = pretty_midi.PrettyMIDI(mido_object=bare).instruments if bare.tracks else []
    except _BROKEN as error:
        raise PieceRefused("broken MIDI", str(error) or type(error).__name__) from error
    # Without tempo events a quarter note is half a second throughout, so seconds round back to the very ticks.
    ticks_per_second = 2 * resolution
    tracks = []
    for instrument in instruments:
        starts, ends = (
            np.rint(np.array(seconds) * ticks_per_second).astype(np.int64).tolist()
            for seconds in ([note.start for note in instrument.notes], [note.end for note in instrument.notes])
        )
        notes = [
            Note(start, end - start, note.pitch, note.velocity)
            for start, end, note in zip(starts, ends, instrument.notes, strict=True)
            if end > start
        ]
        if notes:
            ordered = tuple(sorted(notes, key=lambda note: (note.onset, note.pitch)))
            tracks.append(_Track(instrument.name, instrument.is_drum, ordered))
    return tracks


def _notes_only(track: mido.MidiTrack) -> mido.MidiTrack:
    """A track without what pretty_midi would stumble over (odd signatures, tempo 0, no event at all); uses it up."""
    kept = mido.MidiTrack()
    tick = last = 0
    for message in track:
        tick += message.time
        if message.type in {"note_on", "note_off", "program_change", "track_name"}:
            if message.time != tick - last:
                message.time = tick - last
            kept.append(message)
            last = tick
    kept.append(mido.MetaMessage("end_of_track", time=tick - last))
    return kept


def _melody(tracks: list[_Track], resolution: int) -> _Track:
    candidates = [
        track
        for track in tracks
        if len(track.notes) >= MELODY_NOTES and _monophonic_share(track.notes, resolution) >= MONOPHONIC_SHARE
    ]
    if candidates:
        return max(candidates, key=lambda track: sum(note.pitch for note in track.notes) / len(track.notes))
    return max(tracks, key=lambda track: len(track.notes))


def _monophonic_share(notes: tuple[Note, ...], resolution: int) -> float:
    """Share of the notes that are struck alone, after what came before has ended.

    Players bind notes by letting go late, so an overlap of up to a thirty-second note is none.
    """
    legato = resolution // 8
    alone = 0
    sounding_until = last_onset = -1
    for note in notes:
        alone += note.onset != last_onset and sounding_until - note.onset <= legato
        sounding_until = max(sounding_until, note.end)
        last_onset = note.onset
    return alone / len(notes)


def _skyline(notes: tuple[Note, ...]) -> tuple[Note, ...]:
    """The highest note of each onset, cut where the next one starts."""
    highest = {note.onset: note for note in notes}  # ordered by pitch, so the highest of an onset comes last
    line = list(highest.values())
    ends = [note.onset for note in line[1:]] + [line[-1].end]
    return tuple(
        note if note.end <= end else Note(note.onset, end - note.onset, note.pitch, note.velocity)
        for note, end in zip(line, ends, strict=True)
    )


def _quarters_per_minute(microseconds: int) -> float:
    """The shortest number that is written back as the same tempo: 616650 is 97.3, not 97.2999..."""
    exact = 6e7 / microseconds
    return next((q for digits in range(9) if (q := round(exact, digits)) and round(6e7 / q) == microseconds), exact)


def _decoded(name: str) -> str:
    """A name as its writer meant it: UTF-8 where its bytes are that, latin1 otherwise."""
    try:
        return _one_line(name.encode("latin1").decode("utf-8"))
    except UnicodeDecodeError:
        return _one_line(name)


def _one_line(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")  # a file's name may hold lone surrogates
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _key_from_midi(name: str) -> str:
    tonic = name.removesuffix("m").replace("b", "-")
    return f"{tonic} {'minor' if name.endswith('m') else 'major'}"


# Writing


def _key_messages(key: str) -> list[mido.MetaMessage]:
    """The signature of a key, and its name as text where a signature cannot say it, as of ``"A dorian"``."""
    tonic, _, mode = key.partition(" ")
    if tonic[:1] not in _FIFTHS or mode not in _MODES:
        raise UsageError(f"key {key!r} is not a tonic and a mode, such as 'F# minor' or 'B- major'")
    sharps = _FIFTHS[tonic[0]] + 7 * (tonic.count("#") - tonic.count("-")) + _MODES[mode]
    messages = []
    if -7 <= sharps <= 7:
        name = tonic.replace("-", "b") + "m" if mode == "minor" else _SIGNATURES[sharps + 7]
        messages.append(mido.MetaMessage("key_signature", key=name))
    if mode not in {"major", "minor"} or not messages:
        messages.append(mido.MetaMessage("text", text=f"key: {key}"))
    return messages


def _encode(piece: Piece, program: int) -> bytes:
    _check(piece, program)
    microseconds = round(6e7 / piece.tempo)
    # pretty_midi rounds the length of a quarter note down; a quarter of a microsecond more keeps it the one meant.
    score = pretty_midi.PrettyMIDI(resolution=piece.resolution, initial_tempo=6e7 / (microseconds + 0.25))
    score.time_signature_changes.append(pretty_midi.TimeSignature(*piece.metre, 0))
    title = piece.title.encode("utf-8", "replace").decode("latin1")  # what most programs read names as
    instrument = pretty_midi.Instrument(program, name=title)
    score.tick_to_time(piece.end)  # the longest first, so that the table of times is made once
    instrument.notes = [
        pretty_midi.Note(note.velocity, note.pitch, score.tick_to_time(note.onset), score.tick_to_time(note.end))
        for note in piece.notes
        if note.duration > 0
    ]
    score.instruments.append(instrument)
    stream = io.BytesIO()
    score.write(stream)
    # pretty_midi spells 24 keys of MIDI's 30, and names tracks but not the whole: that is put in front.
    first: list[mido.MetaMessage] = [mido.MetaMessage("track_name", name=title)] if title else []
    first += _key_messages(piece.key) if piece.key else []
    events = b"".join(b"\x00" + bytes(message.bytes()) for message in first)
    content = stream.getvalue()
    header, length, rest = content[:_TRACK_LENGTH], content[_TRACK_LENGTH:][:4], content[_TRACK_LENGTH + 4 :]
    return header + struct.pack(">L", struct.unpack(">L", length)[0] + len(events)) + events + rest


def _check(piece: Piece, program: int) -> None:
    """Refuse what MIDI has no number for, before any of it is written."""
    numerator, denominator = piece.metre
    checks: Iterable[tuple[bool, str]] = (
        (0 <= program <= 127, f"program {program} is not within 0..127"),
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
        (all(note.onset >= 0 and note.duration >= 0 for note in piece.notes), "a note starts or ends before time 0"),
        (all(0 <= note.pitch <= 127 for note in piece.notes), "a pitch is not within 0..127"),
        (all(1 <= note.velocity <= 127 for note in piece.notes), "a velocity is not within 1..127"),
    )
    for holds, complaint in checks:
        if not holds:
            raise UsageError(f"{piece.title or 'the piece'} cannot be written as MIDI: {complaint}")
