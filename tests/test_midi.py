"""Reading and writing MIDI files, sound ones and broken ones."""

import gzip
import os
import random
import struct
from pathlib import Path

import mido
import pretty_midi
import pytest

from seqgan_music import midi
from seqgan_music.errors import Failure, PieceRefused, UsageError
from seqgan_music.notes import Note, Piece

TUNES = Path(__file__).parent.parent / "midi_data"
KEYS = [
    "C major",
    "F# minor",
    "B- major",
    "G- major",
    "C- major",
    "A# minor",
    "A dorian",
    "D- minor",
    "F# locrian",
    None,
]


def number(value):
    """A number as MIDI writes one of variable length."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.insert(0, 0x80 | value & 0x7F)
    return bytes(groups)


def track(*events):
    body = b"".join(number(delta) + data for delta, data in events) + b"\x00\xff\x2f\x00"
    return b"MTrk" + struct.pack(">L", len(body)) + body


def midi_bytes(*tracks, division=480, format=1):
    return b"MThd" + struct.pack(">LhhH", 6, format, len(tracks), division & 0xFFFF) + b"".join(tracks)


def meta(kind, data):
    return b"\xff" + bytes([kind]) + number(len(data)) + data


def notes(pitches, *, channel=0, duration=240):
    events = []
    for pitch in pitches:
        events += [(0, bytes([0x90 | channel, pitch, 80])), (duration, bytes([0x80 | channel, pitch, 0]))]
    return events


SCALE = [60, 62, 64, 65, 67, 69, 71, 72]
SMALL = midi_bytes(track((0, meta(0x51, b"\x07\xa1\x20")), (0, meta(0x58, b"\x06\x03\x18\x08"))), track(*notes(SCALE)))


def read_bytes(tmp_path, content, name="tune.mid"):
    path = tmp_path / name
    path.write_bytes(content)
    return midi.read(path)


def reason(tmp_path, content):
    with pytest.raises(PieceRefused) as refusal:
        read_bytes(tmp_path, content)
    return refusal.value.reason


def melody(resolution, seed=0, count=120):
    draw = random.Random(seed)
    tick, line = 0, []
    for _ in range(count):
        duration = draw.randint(1, min(4 * resolution, 4000))
        line.append(Note(tick, duration, draw.randint(0, 127), draw.randint(1, 127)))
        tick += duration + draw.choice([0, 0, 1, resolution])
    return tuple(line)


# Sound files


@pytest.mark.parametrize("tempo", [97.3, 120.0, 33.333, 250.01, 3.6, 1000.0])
@pytest.mark.parametrize("resolution", [1, 7, 96, 97, 220, 480, 960, 32767])
def test_what_is_written_reads_back_the_same(tmp_path, resolution, tempo):
    for key in KEYS:
        piece = Piece(melody(resolution), resolution, tempo, (6, 8), "Żółw — 亀 'é' 🐢", key)
        midi.write(piece, tmp_path / "a.mid")
        assert midi.read(tmp_path / "a.mid") == piece


def test_every_shipped_tune_is_written_back_the_same(tmp_path):
    files = sorted(TUNES.glob("*.mid"))
    assert len(files) >= 900
    for file in files:
        piece = midi.read(file)
        assert piece.resolution == 480
        midi.write(piece, tmp_path / "again.mid")
        assert (tmp_path / "again.mid").read_bytes() == file.read_bytes()  # so its reading is the same too


def test_same_piece_same_bytes_whatever_the_path(tmp_path):
    piece = Piece(melody(480), title="One")
    midi.write(piece, tmp_path / "a.mid")
    midi.write(piece, tmp_path / "b.mid")
    assert (tmp_path / "a.mid").read_bytes() == (tmp_path / "b.mid").read_bytes()


def test_other_programs_read_what_is_written(tmp_path):
    piece = Piece((Note(0, 480, 60), Note(480, 480, 60, 33)), tempo=60.0, metre=(3, 4), title="Tune", key="F# minor")
    midi.write(piece, tmp_path / "a.mid", program=40)
    score = pretty_midi.PrettyMIDI(str(tmp_path / "a.mid"))
    assert mido.MidiFile(tmp_path / "a.mid").type == 1
    (instrument,) = score.instruments
    assert (instrument.program, instrument.name, instrument.is_drum) == (40, "Tune", False)
    assert [(note.start, note.end, note.velocity) for note in instrument.notes] == [(0, 1, 80), (1, 2, 33)]
    assert [(t.numerator, t.denominator) for t in score.time_signature_changes] == [(3, 4)]
    assert [pretty_midi.key_number_to_key_name(k.key_number) for k in score.key_signature_changes] == ["F# minor"]


def test_ticks_survive_tempo_changes_and_unknown_meta_events(tmp_path):
    tempi = track(*[(37, meta(0x51, struct.pack(">L", 300_000 + 7919 * n)[1:])) for n in range(200)])
    events = []
    for pitch in SCALE * 40:
        events += [(1, bytes([0x90, pitch, 70])), (0, meta(0x60, b"xy")), (12, bytes([0x80, pitch, 0]))]
        events += [(3, meta(0x61, b"time passes before an event nobody knows"))]
    piece = read_bytes(tmp_path, midi_bytes(tempi, track(*events), division=97))
    assert [(note.onset, note.duration) for note in piece.notes] == [(1 + 16 * n, 12) for n in range(320)]
    assert piece.tempo == 200.0  # the first: 300,000 microseconds


def test_metre_key_and_tempo_are_found_in_any_track(tmp_path):
    events = [(0, meta(0x58, b"\x09\x03\x18\x08")), (0, meta(0x59, b"\xfa\x00")), (0, meta(0x51, b"\x09\x27\xc0"))]
    piece = read_bytes(tmp_path, midi_bytes(track(), track(*events, *notes(SCALE))))
    assert (piece.metre, piece.key, piece.tempo) == ((9, 8), "G- major", 100.0)


def test_a_file_that_says_nothing_has_the_defaults_of_midi(tmp_path):
    piece = read_bytes(tmp_path, midi_bytes(track((1, meta(0x58, b"\x03\x02\x18\x08")), *notes(SCALE))), "my tune.mid")
    assert (piece.metre, piece.key, piece.tempo, piece.title) == ((4, 4), None, 120.0, "my tune")


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Größe".encode(), "Größe"),
        ("Größe".encode("latin1"), "Größe"),
        (b"two\nlines\x00", "two lines"),
        (b" ", "tune"),
    ],
)
def test_titles_in_utf_8_and_latin1(tmp_path, name, title):
    piece = read_bytes(tmp_path, midi_bytes(track((0, meta(0x03, name))), track(*notes(SCALE))))
    assert piece.title == title


def test_a_title_can_be_given(tmp_path):
    (tmp_path / "a.mid").write_bytes(SMALL)
    assert midi.read(tmp_path / "a.mid", title="Ã©").title == "Ã©"


@pytest.mark.parametrize("front", [b"RIFF\x00\x01\x00\x00RMIDdata\x00\x01\x00\x00", bytes(128)])
def test_wrapped_files_are_read(tmp_path, front):
    assert len(read_bytes(tmp_path, front + SMALL).notes) == 8


# Which notes are the melody


def test_the_melody_is_the_highest_monophonic_track(tmp_path):
    low, high = track(*notes(SCALE * 4)), track(*notes([p + 12 for p in SCALE * 4], channel=1))
    short = track(*notes([120] * 15, channel=2))
    drums = track(*notes([100] * 64, channel=9))
    chords = track(*[e for p in SCALE * 4 for e in chord([p + 24, p + 28])])
    piece = read_bytes(tmp_path, midi_bytes(track(), low, drums, high, short, chords))
    assert [note.pitch for note in piece.notes] == [p + 12 for p in SCALE * 4]


def chord(pitches, duration=240, channel=3):
    on = [(0, bytes([0x90 | channel, pitch, 80])) for pitch in pitches]
    off = [(duration if i == 0 else 0, bytes([0x80 | channel, pitch, 0])) for i, pitch in enumerate(pitches)]
    return on + off


def test_legato_is_still_monophonic_and_is_cut(tmp_path):
    events = [(0, bytes([0x90, 60, 80]))]
    for before, pitch in zip(SCALE * 3, (SCALE * 3)[1:], strict=False):
        events += [(220, bytes([0x90, pitch, 80])), (20, bytes([0x80, before, 0]))]
    piece = read_bytes(tmp_path, midi_bytes(track(*events), track(*notes([30] * 20, channel=1))))
    assert {note.pitch for note in piece.notes} <= set(SCALE)
    assert all(a.end == b.onset for a, b in zip(piece.notes, piece.notes[1:], strict=False))


def test_without_a_monophonic_track_it_is_the_skyline_of_the_fullest(tmp_path):
    full = track(*[e for p in SCALE * 2 for e in chord([p, p - 12, p - 5])])
    few = track(*[e for p in SCALE for e in chord([p + 20, p + 30])])
    piece = read_bytes(tmp_path, midi_bytes(few, full))
    assert [note.pitch for note in piece.notes] == SCALE * 2


def test_a_held_note_is_cut_by_the_next_onset(tmp_path):
    events = [(0, b"\x90\x48\x50"), (240, b"\x90\x40\x50"), (240, b"\x80\x40\x00"), (480, b"\x80\x48\x00")]
    piece = read_bytes(tmp_path, midi_bytes(track(*events)))
    assert [(note.onset, note.duration, note.pitch) for note in piece.notes] == [(0, 240, 72), (240, 240, 64)]


def test_drums_are_never_the_melody(tmp_path):
    assert reason(tmp_path, midi_bytes(track(*notes(SCALE * 8, channel=9)))) == "only drums"
    piece = read_bytes(tmp_path, midi_bytes(track(*notes([90] * 99, channel=9)), track(*notes([40]))))
    assert [note.pitch for note in piece.notes] == [40]


# Broken files


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty file"),
        (b"These are words.\n", "not MIDI"),
        (gzip.compress(SMALL, mtime=0), "not MIDI"),
        (SMALL[:14], "cut short"),
        (b"MThd", "cut short"),
        (midi_bytes(), "no notes"),
        (midi_bytes(track(), track()), "no notes"),
        (midi_bytes(track(*notes(SCALE)), division=0), "no quarter note"),
        (midi_bytes(track(*notes(SCALE)), division=0xE728), "no quarter note"),
        (midi_bytes(track(*notes(SCALE, duration=0))), "no notes"),
        (midi_bytes(track(*[(10, bytes([0x90, p, 80])) for p in SCALE])), "no notes"),
        (midi_bytes(track((0, meta(0x59, b"\xf8\x00")), *notes(SCALE))), "broken MIDI"),
        (midi_bytes(track((0, meta(0x51, b"")), *notes(SCALE))), "broken MIDI"),
        (midi_bytes(track((0, meta(0x58, b"\x00\x02\x18\x08")), *notes(SCALE))), "impossible metre"),
        (midi_bytes(track((0, meta(0x58, b"\x04\xff\x18\x08")), *notes(SCALE))), "impossible metre"),
        (midi_bytes(track((0, b"\xf4"), *notes(SCALE))), "broken MIDI"),
        (midi_bytes(track((0, b"\x90\x3c\xff"), *notes(SCALE))), "broken MIDI"),
        (midi_bytes(track(*notes(SCALE, duration=5_000_000))), "too long"),
        (midi_bytes(b"MTrk\x00\x10\x00\x00" + b"\xff" * 1_000_000), "broken MIDI"),
        (SMALL + bytes(5_000_000), "too large"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(tmp_path, content, expected):
    assert reason(tmp_path, content) == expected


def test_tempo_zero_is_passed_over(tmp_path):
    events = [(0, meta(0x51, b"\x00\x00\x00")), (0, meta(0x51, b"\x0f\x42\x40"))]
    piece = read_bytes(tmp_path, midi_bytes(track(*events), track(*notes(SCALE))))
    assert piece.tempo == 60.0


def test_an_empty_track_chunk_is_survived(tmp_path):
    assert len(read_bytes(tmp_path, midi_bytes(b"MTrk\x00\x00\x00\x00", track(*notes(SCALE)))).notes) == 8


def test_a_file_cut_at_any_byte_is_refused(tmp_path):
    for length in range(len(SMALL)):
        assert reason(tmp_path, SMALL[:length]) in {"empty file", "not MIDI", "cut short", "broken MIDI"}


def test_a_file_with_any_byte_damaged_is_read_or_refused(tmp_path):
    draw = random.Random(0)
    for place in range(len(SMALL)):
        for value in (0, 0x7F, 0x80, 0xFF, draw.randrange(256)):
            damaged = SMALL[:place] + bytes([value]) + SMALL[place + 1 :]
            try:
                piece = read_bytes(tmp_path, damaged)
            except PieceRefused:
                continue
            assert piece.notes


def test_a_folder_a_pipe_and_nothing_are_refused(tmp_path):
    (tmp_path / "folder.mid").mkdir()
    os.mkfifo(tmp_path / "pipe.mid")
    (tmp_path / "link.mid").symlink_to(tmp_path / "nowhere")
    for name in ("folder.mid", "pipe.mid", "link.mid", "missing.mid"):
        with pytest.raises(PieceRefused, match="not a file"):
            midi.read(tmp_path / name)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def forbidden(_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.mid").write_bytes(SMALL)
    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(PieceRefused, match="unreadable: Permission denied"):
        midi.read(tmp_path / "a.mid")


# What cannot be written


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"resolution": 40_000}, "resolution"),
        ({"tempo": 0.0}, "tempo"),
        ({"tempo": 3.0}, "tempo"),
        ({"metre": (4, 3)}, "metre"),
        ({"metre": (0, 4)}, "metre"),
        ({"key": "H major"}, "key"),
        ({"key": "C"}, "key"),
        ({"notes": (Note(0, 1, 128),)}, "pitch"),
        ({"notes": (Note(0, 1, 60, 0),)}, "velocity"),
        ({"notes": (Note(-1, 1, 60),)}, "before time 0"),
        ({"notes": (Note(0, 20_000_000, 60),)}, "too long"),
    ],
)
def test_what_midi_cannot_say_is_not_written(tmp_path, change, complaint):
    piece = Piece(**{"notes": (Note(0, 480, 60),), **change})
    with pytest.raises(UsageError, match=complaint):
        midi.write(piece, tmp_path / "a.mid")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.mid"
    path.write_bytes(b"before")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Failure, match="No space left"):
        midi.write(Piece((Note(0, 480, 60),)), path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(Failure, match="missing"):
        midi.write(Piece((Note(0, 480, 60),)), tmp_path / "missing" / "a.mid")


def test_notes_without_duration_are_not_written(tmp_path):
    midi.write(Piece((Note(0, 0, 60), Note(0, 480, 62), Note(480, 0, 64))), tmp_path / "a.mid")
    assert [note.pitch for note in midi.read(tmp_path / "a.mid").notes] == [62]
