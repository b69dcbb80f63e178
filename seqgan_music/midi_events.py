"""The bytes of a Standard MIDI File as notes in ticks: formats 0, 1 and 2.

Written for speed and for broken files: one pass over the bytes, a reason for whatever cannot be read, and no limit on
what a file may say that does not matter here. Source: *Standard MIDI Files 1.0*, MIDI Manufacturers Association, 1996.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seqgan_music.errors import PieceRefused
from seqgan_music.notes import Part

DRUM_CHANNEL = 9
TOO_SLOW = "takes too long"

_HEADER_WITHIN = 256  # RIFF and MacBinary put up to 128 bytes in front
_LAST_TICK = 2**31 - 1  # `Notes` counts in 32 bits
_BYTES_AT_ONCE = 65_536  # between two looks at the clock
SIGNATURES = ("C-", "G-", "D-", "A-", "E-", "B-", "F", "C", "G", "D", "A", "E", "B", "F#", "C#")  # 7 flats to 7 sharps
_MINOR = ("A-", "E-", "B-", "F", "C", "G", "D", "A", "E", "B", "F#", "C#", "G#", "D#", "A#")
MODES = {
    "lydian": 1,
    "major": 0,
    "mixolydian": -1,
    "dorian": -2,
    "minor": -3,
    "phrygian": -4,
    "locrian": -5,
}  # sharps against the major key of the same tonic
_KEY_TEXT = re.compile(rf"key: ([A-G](?:#+|-+)? (?:{'|'.join(MODES)}))")


@dataclass(slots=True)
class Score:
    """What a MIDI file says, in ticks.

    Parameters
    ----------
    resolution : int
        Ticks in a quarter note.
    format : int
        0: one track; 1: tracks that sound together; 2: tracks that stand alone.
    names : list of str
        Of the tracks; empty where there is none.
    table : ndarray (K, 5), int64
        Onset, duration, pitch, velocity and part of every note, by onset, pitch, part and velocity.
    parts : list of Part
        One for each track, channel and program that has notes, in the order in which their first notes end.
    tracks : list of int
        In which track each part stands.
    tempi : list of (int, int, int)
        Track, tick and microseconds in a quarter note.
    metres : list of (int, int, tuple of int)
        Track, tick and time signature; a denominator is any power of two up to 2 ** 255.
    keys : list of (int, int, str)
        Track, tick and key, such as ``"F# minor"``.
    without_length, never_ended, nonsense : int
        Notes released when they are struck; notes that are not released; events whose values mean nothing. They are
        left out.
    """

    resolution: int
    format: int
    names: list[str] = field(default_factory=list)
    table: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 5), np.int64))
    parts: list[Part] = field(default_factory=list)
    tracks: list[int] = field(default_factory=list)
    tempi: list[tuple[int, int, int]] = field(default_factory=list)
    metres: list[tuple[int, int, tuple[int, int]]] = field(default_factory=list)
    keys: list[tuple[int, int, str]] = field(default_factory=list)
    without_length: int = 0
    never_ended: int = 0
    nonsense: int = 0


def parse(content: bytes, *, most_notes: int = 50_000, seconds: float = 10.0) -> Score:
    """Read a Standard MIDI File.

    Of several notes of one pitch that sound in one channel, a release ends all that were struck before it.

    Parameters
    ----------
    content : bytes
        Of the whole file; what RIFF or MacBinary put in front is passed over, and so are chunks that are no tracks.
    most_notes : int
        More are refused.
    seconds : float
        Reading that takes longer is given up.

    Raises
    ------
    PieceRefused
        With a reason, for whatever cannot be read.
    """
    if not content:
        raise PieceRefused("empty file")
    start = content.find(b"MThd", 0, _HEADER_WITHIN)
    if start < 0:
        raise PieceRefused("not MIDI", f"starts with {content[:4]!r} where MIDI has b'MThd'")
    if len(content) < start + 14:
        raise PieceRefused("cut short", "the file ends in its header")
    format_, count, division = (int.from_bytes(content[start + at : start + at + 2], "big") for at in (8, 10, 12))
    if format_ > 2:
        raise PieceRefused("broken MIDI", f"format {format_}, where there are 0, 1 and 2")
    if division & 0x8000 or not division:
        what = "SMPTE time code" if division else "0 ticks in a quarter note"
        raise PieceRefused("no quarter note", f"timing is in {what}")
    reader = _Reader(content, Score(division, format_), most_notes, time.monotonic() + seconds)
    at = start + 8 + int.from_bytes(content[start + 4 : start + 8], "big")
    while len(reader.score.names) < count:
        if len(content) < at + 8:
            raise PieceRefused("cut short", f"{len(reader.score.names)} of its {count} tracks are there")
        end = at + 8 + int.from_bytes(content[at + 4 : at + 8], "big")
        if content[at : at + 4] == b"MTrk":
            if end > len(content):
                raise PieceRefused("cut short", f"track {len(reader.score.names) + 1} ends in the middle")
            reader.track(at + 8, end)
        elif not content[at : at + 4].isalnum():
            raise PieceRefused("broken MIDI", f"no track begins at byte {at}, where the one before should end")
        at = end
    return reader.finished()


class _Reader:
    def __init__(self, content: bytes, score: Score, most_notes: int, deadline: float) -> None:
        self.content, self.score, self.most_notes, self.deadline = content, score, most_notes, deadline
        self.rows: list[tuple[int, int, int, int, int]] = []
        self.numbers: dict[tuple[int, int, int], int] = {}  # track, channel, program -> part

    def track(self, at: int, end: int) -> None:
        """Read the events of a track that stands in bytes `at` to `end`."""
        content, score = self.content, self.score
        number = len(score.names)
        score.names.append("")
        tick = status = 0
        programs = [0] * 16
        struck: dict[int, list[tuple[int, int, int, int]]] = {}  # channel and pitch -> onsets, as in `_end`
        try:
            while at < end:
                if time.monotonic() > self.deadline:
                    raise PieceRefused(TOO_SLOW, "reading was given up; --limit seconds=N raises that")
                if len(self.rows) > self.most_notes:
                    raise PieceRefused("too many notes", f"more than {self.most_notes:,}; --limit notes=N raises that")
                stop = min(end, at + _BYTES_AT_ONCE)
                while at < stop:
                    byte = content[at]
                    at += 1
                    if byte < 0x80:
                        tick += byte
                    else:
                        delta, at = _number(content, at - 1)
                        tick += delta
                    byte = content[at]
                    if byte < 0x80:
                        if not status:
                            raise PieceRefused("broken MIDI", f"byte {at}: data where an event should begin")
                    else:
                        at += 1
                        if byte < 0xF0:
                            status = byte
                        elif byte == 0xFF:
                            kind = content[at]
                            length, at = _number(content, at + 1)
                            if at + length > end:
                                raise PieceRefused("broken MIDI", f"byte {at}: an event goes beyond its track")
                            if kind == 0x2F:
                                at = stop = end
                            elif kind in _MEANT:
                                self.meta(number, tick, kind, content[at : at + length])
                                at += length
                            else:
                                at += length
                            continue
                        elif byte in (0xF0, 0xF7):
                            length, at = _number(content, at)
                            at += length
                            continue
                        else:
                            raise PieceRefused("broken MIDI", f"byte {at - 1}: {byte:#x} is no event of a file")
                    group = status & 0xF0
                    if group == 0x90 or group == 0x80:
                        pitch, velocity = content[at], content[at + 1]
                        at += 2
                        if (pitch | velocity) > 127:
                            raise PieceRefused("broken MIDI", f"byte {at - 2}: a note's values lie above 127")
                        key = (status & 15) << 7 | pitch
                        if group == 0x90 and velocity:
                            onset = (tick, pitch, velocity, programs[status & 15])
                            if key in struck:
                                struck[key].append(onset)
                            else:
                                struck[key] = [onset]
                        elif key in struck:
                            self.end(number, status & 15, struck.pop(key), tick, struck)
                    elif group == 0xC0 or group == 0xD0:
                        value = content[at]
                        at += 1
                        if value > 127:
                            raise PieceRefused("broken MIDI", f"byte {at - 1}: a value lies above 127")
                        if group == 0xC0:
                            programs[status & 15] = value
                    else:
                        if (content[at] | content[at + 1]) > 127:
                            raise PieceRefused("broken MIDI", f"byte {at}: a value lies above 127")
                        at += 2
        except IndexError:
            raise PieceRefused("cut short", f"the file ends in the middle of track {number + 1}") from None
        if at > end:
            raise PieceRefused("broken MIDI", f"byte {end}: the last event of track {number + 1} goes beyond it")
        score.never_ended += sum(map(len, struck.values()))

    def end(
        self,
        track: int,
        channel: int,
        onsets: list[tuple[int, int, int, int]],
        tick: int,
        struck: dict[int, list[tuple[int, int, int, int]]],
    ) -> None:
        """Release notes of one pitch, but what is struck in this very tick only if there is nothing else to release."""
        if len(onsets) > 1 and onsets[-1][0] == tick != onsets[0][0]:
            struck[channel << 7 | onsets[0][1]] = [onset for onset in onsets if onset[0] == tick]
            onsets = [onset for onset in onsets if onset[0] != tick]
        for began, pitch, velocity, program in onsets:
            if began == tick:
                self.score.without_length += 1
                continue
            where = (track, channel, program)
            part = self.numbers.get(where)
            if part is None:
                part = self.numbers[where] = len(self.numbers)
            self.rows.append((began, tick - began, pitch, velocity, part))

    def meta(self, track: int, tick: int, kind: int, data: bytes) -> None:
        """A tempo, a time signature, a key, a text or a name."""
        score = self.score
        if kind == 0x51:
            if microseconds := int.from_bytes(data[:3], "big") if len(data) >= 3 else 0:
                score.tempi.append((track, tick, microseconds))
            else:
                score.nonsense += 1
        elif kind == 0x58 and len(data) >= 2:
            score.metres.append((track, tick, (data[0], 2 ** data[1])))
        elif kind == 0x59:
            sharps = (data[0] ^ 0x80) - 0x80 if data else 99
            if len(data) >= 2 and -7 <= sharps <= 7 and data[1] < 2:
                name = f"{_MINOR[sharps + 7]} minor" if data[1] else f"{SIGNATURES[sharps + 7]} major"
                score.keys.append((track, tick, name))
            else:
                score.nonsense += 1
        elif kind == 0x01:
            if named := _KEY_TEXT.fullmatch(data.decode("latin1")):
                score.keys.append((track, -1, named[1]))  # says more than the signature beside it
        elif kind == 0x03:
            score.names[track] = score.names[track] or _decoded(data)
        else:
            score.nonsense += 1

    def finished(self) -> Score:
        """The score, its notes in order."""
        score = self.score
        if len(self.rows) > self.most_notes:
            raise PieceRefused("too many notes", f"more than {self.most_notes:,}; --limit notes=N raises that")
        if not self.rows:
            raise PieceRefused("no notes", "no note is both struck and released")
        if (end := max(onset + duration for onset, duration, *_ in self.rows)) > _LAST_TICK:
            raise PieceRefused("too long", f"{end:,} ticks; the limit is {_LAST_TICK:,}")
        for track, channel, program in self.numbers:
            score.parts.append(Part(program, channel == DRUM_CHANNEL, score.names[track]))
            score.tracks.append(track)
        table = np.array(self.rows, dtype=np.int64)
        score.table = table[np.lexsort(table[:, [3, 4, 2, 0]].T)]
        return score


_MEANT = frozenset({0x01, 0x03, 0x51, 0x58, 0x59})


def _number(content: bytes, at: int) -> tuple[int, int]:
    """A number of up to four bytes, and where it ends."""
    value = 0
    for place in range(at, at + 4):
        byte = content[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    raise PieceRefused("broken MIDI", f"byte {at}: a number of more than four bytes")


def _decoded(data: bytes) -> str:
    """A name as its writer meant it: UTF-8 where its bytes are that, latin1 otherwise."""
    try:
        return one_line(data.decode("utf-8"))
    except UnicodeDecodeError:
        return one_line(data.decode("latin1"))


def one_line(text: str) -> str:
    """Text that can be printed in a table."""
    text = text.encode("utf-8", "replace").decode("utf-8")  # a file's name may hold lone surrogates
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
