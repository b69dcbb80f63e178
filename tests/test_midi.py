"""MIDI files as pieces, and pieces as MIDI files."""

import io
import os
import random
from dataclasses import replace
from pathlib import Path

import mido
import pretty_midi
import pytest

from seqgan_music import midi
from seqgan_music.errors import Failure, PieceRefused, UsageError
from seqgan_music.midi import Reading
from seqgan_music.notes import Note, Part, Piece

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


def content(*tracks, division=480):
    """A file of tracks of mido's messages."""
    stream = io.BytesIO()
    mido.MidiFile(ticks_per_beat=division, tracks=[mido.MidiTrack(track) for track in tracks]).save(file=stream)
    return stream.getvalue()


def line(pitches, duration=240):
    return [
        mido.Message(kind, note=pitch, time=time)
        for pitch in pitches
        for kind, time in (("note_on", 0), ("note_off", duration))
    ]


SCALE = [60, 62, 64, 65, 67, 69, 71, 72]
SMALL = content([mido.MetaMessage("time_signature", numerator=6, denominator=8)], line(SCALE))


def read_bytes(tmp_path, content, name="tune.mid", **options):
    path = tmp_path / name
    path.write_bytes(content)
    return midi.read(path, **options)


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
    piece = replace(piece, parts=(Part(40),))
    midi.write(piece, tmp_path / "a.mid")
    score = pretty_midi.PrettyMIDI(str(tmp_path / "a.mid"))
    assert mido.MidiFile(tmp_path / "a.mid").type == 1
    (instrument,) = score.instruments
    assert (instrument.program, instrument.name, instrument.is_drum) == (40, "Tune", False)
    assert [(note.start, note.end, note.velocity) for note in instrument.notes] == [(0, 1, 80), (1, 2, 33)]
    assert [(t.numerator, t.denominator) for t in score.time_signature_changes] == [(3, 4)]
    assert [pretty_midi.key_number_to_key_name(k.key_number) for k in score.key_signature_changes] == ["F# minor"]


def test_a_piece_of_several_parts_is_read_back_the_same(tmp_path):
    parts = (Part(0, name="Right"), Part(0, name="Left"), Part(40), Part(16, True, "Kit"), Part(127, name="Größe 🎻"))
    draw = random.Random(0)
    rows = sorted({(draw.randrange(64) * 60, draw.randint(40, 80), part) for part in range(5) for _ in range(40)})
    piece = Piece([Note(onset, 60, pitch, 1 + pitch, part) for onset, pitch, part in rows], title="Many", parts=parts)
    midi.write(piece, tmp_path / "a.mid")
    again, account = midi.interpret((tmp_path / "a.mid").read_bytes(), every_part=True)
    assert again == piece
    assert account.left_out == ()
    melody, _ = midi.interpret((tmp_path / "a.mid").read_bytes())
    assert len(melody.parts) == 1
    assert 0 < len(melody.notes) < len(piece.notes)


def test_ticks_survive_tempo_changes_and_unknown_meta_events(tmp_path):
    tempi = [mido.MetaMessage("set_tempo", tempo=300_000 + 7919 * n, time=37) for n in range(200)]
    events = []
    for pitch in SCALE * 40:
        events += [mido.Message("note_on", note=pitch, time=1), mido.UnknownMetaMessage(0x60, b"xy")]
        events += [mido.Message("note_off", note=pitch, time=12), mido.UnknownMetaMessage(0x61, b"time passes", time=3)]
    piece = read_bytes(tmp_path, content(tempi, events, division=97))
    assert [(note.onset, note.duration) for note in piece.notes] == [(1 + 16 * n, 12) for n in range(320)]


def test_metre_key_and_tempo_are_found_in_any_track(tmp_path):
    events = [
        mido.MetaMessage("time_signature", numerator=9, denominator=8),
        mido.MetaMessage("key_signature", key="Gb"),
        mido.MetaMessage("set_tempo", tempo=600_000),
    ]
    piece = read_bytes(tmp_path, content([], events + line(SCALE)))
    assert (piece.metre, piece.key, piece.tempo) == ((9, 8), "G- major", 100.0)


def test_a_file_that_says_nothing_has_the_defaults_of_midi(tmp_path):
    piece = read_bytes(tmp_path, content(line(SCALE)), "my tune.mid")
    assert (piece.metre, piece.key, piece.tempo, piece.title) == ((4, 4), None, 120.0, "my tune")
    assert len(piece.notes) == 8


def test_events_whose_values_mean_nothing_are_passed_over():
    nonsense = [mido.UnknownMetaMessage(0x51, b""), mido.UnknownMetaMessage(0x51, bytes(3))]
    eight_flats = mido.UnknownMetaMessage(0x59, b"\xf8\x00")
    piece, account = midi.interpret(
        content([*nonsense, eight_flats, mido.MetaMessage("set_tempo", tempo=10**6)], line(SCALE))
    )
    assert (piece.key, piece.tempo, len(piece.notes)) == (None, 60.0, 8)
    assert account.left_out == ("3 tempo, metre or key events whose values mean nothing",)


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
    piece = read_bytes(tmp_path, content([mido.MetaMessage("track_name", name=name.decode("latin1"))], line(SCALE)))
    assert piece.title == title


def test_a_title_can_be_given(tmp_path):
    (tmp_path / "a.mid").write_bytes(SMALL)
    assert midi.read(tmp_path / "a.mid", title="Ã©").title == "Ã©"


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Größe 🎻.mid", "Größe 🎻"),
        ("-rf.mid", "-rf"),
        (" two  words .mid", "two words"),
        ("a.b.MID", "a.b"),
        (b"caf\xe9\n.mid".decode("utf-8", "surrogateescape"), "caf?"),
    ],
)
def test_a_file_without_a_title_has_its_own_name(tmp_path, name, title):
    assert read_bytes(tmp_path, SMALL, name).title == title


def test_the_title_of_format_2_is_that_of_the_tune():
    names = [mido.MetaMessage("track_name", name=name) for name in ("First", "Second")]
    both = content([names[0], *line(SCALE)], [names[1], *line(SCALE[::-1] * 3)])
    both = both[:9] + b"\x02" + both[10:]
    assert midi.interpret(both)[0].title == "Second"
    assert midi.interpret(both, Reading(track="1"))[0].title == "First"


# What cannot be read


def test_limits_are_kept_and_can_be_raised(tmp_path):
    long = content(line(SCALE * 40, duration=4 * 480))
    for limit, reason in [
        ({"max_bytes": len(long) - 1}, f"too large: {len(long):,} bytes"),
        ({"max_notes": 319}, "too many notes: more than 319"),
        ({"max_steps": 16 * 320 - 1}, "too long: 5,120 sixteenth notes; the limit is 5,119"),
        ({"max_seconds": 1e-9}, "takes too long"),
    ]:
        with pytest.raises(PieceRefused, match=reason):
            read_bytes(tmp_path, long, reading=Reading(**limit))
    exact = Reading(max_bytes=len(long), max_notes=320, max_steps=16 * 320)
    assert len(read_bytes(tmp_path, long, reading=exact).notes) == 320
    with pytest.raises(PieceRefused, match="too long"):
        read_bytes(tmp_path, content([*line(SCALE), mido.Message("note_on", time=248_000_000), *line(SCALE)]))


def test_what_could_not_be_written_again_is_not_read(tmp_path):
    with pytest.raises(PieceRefused, match="too long: 10,000,000 ticks; the limit is 9,999,999"):
        read_bytes(tmp_path, content(line([60, 62], 5_000_000), division=32767))
    piece = read_bytes(tmp_path, content([*line([60], 5_000_000), *line([62], 4_999_999)], division=32767))
    midi.write(piece, tmp_path / "tune.mid")
    assert midi.read(tmp_path / "tune.mid") == piece


@pytest.mark.parametrize("name", ["max_bytes", "max_notes", "max_steps", "max_seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_that_cannot_be_meant(name, value):
    with pytest.raises(UsageError, match=f"reading.{name} must lie above 0"):
        Reading(**{name: value})


def test_a_folder_a_pipe_and_nothing_are_refused(tmp_path):
    (tmp_path / "folder.mid").mkdir()
    os.mkfifo(tmp_path / "pipe.mid")
    (tmp_path / "link.mid").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.mid").symlink_to("loop.mid")
    for name in ("folder.mid", "pipe.mid", "link.mid", "loop.mid"):
        with pytest.raises(PieceRefused, match="not a file: a folder, a pipe or a broken link"):
            midi.read(tmp_path / name)
    with pytest.raises(PieceRefused, match="not a file: no such file"):
        midi.read(tmp_path / "missing.mid")
    with pytest.raises(PieceRefused, match="not a file: a folder"):
        midi.read("/dev/zero")


@pytest.mark.parametrize("name", ["a\0.mid", "a" * 300 + ".mid"])
def test_names_that_no_file_can_have_are_refused(tmp_path, name):
    with pytest.raises(PieceRefused):
        midi.read(tmp_path / name)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def forbidden(_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.mid").write_bytes(SMALL)
    monkeypatch.setattr(Path, "read_bytes", forbidden)  # the rights of a file mean nothing to root
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
