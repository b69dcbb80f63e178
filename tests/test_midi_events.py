"""The bytes of MIDI files, sound and broken: what is read from them, and with what reason they are refused."""

import gzip
import io
import random
import struct
import time
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pretty_midi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_music import midi
from seqgan_music.errors import PieceRefused
from seqgan_music.midi_events import TOO_SLOW, parse
from seqgan_music.notes import Part

TUNES = sorted((Path(__file__).parent.parent / "midi_data").glob("*.mid"))
SCALE = [60, 62, 64, 65, 67, 69, 71, 72]


def number(value):
    """A number as MIDI writes one of variable length."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.insert(0, 0x80 | value & 0x7F)
    return bytes(groups)


def chunk(body, name=b"MTrk", size=None):
    return name + struct.pack(">L", len(body) if size is None else size) + body


def body(*events):
    return b"".join(number(delta) + data for delta, data in events) + b"\x00\xff\x2f\x00"


def track(*events):
    return chunk(body(*events))


def file(*tracks, division=480, format=1, count=None):
    return (
        b"MThd" + struct.pack(">LHHH", 6, format, len(tracks) if count is None else count, division) + b"".join(tracks)
    )


def meta(kind, data):
    return b"\xff" + bytes([kind]) + number(len(data)) + data


def on(pitch, velocity=80, channel=0):
    return bytes([0x90 | channel, pitch, velocity])


def off(pitch, channel=0):
    return bytes([0x80 | channel, pitch, 0])


def notes(pitches, *, channel=0, duration=240):
    return [event for pitch in pitches for event in ((0, on(pitch, channel=channel)), (duration, off(pitch, channel)))]


FIRST = body((0, meta(0x51, b"\x07\xa1\x20")), (0, meta(0x58, b"\x06\x03\x18\x08")))
SECOND = body(*notes(SCALE))
SMALL = file(chunk(FIRST), chunk(SECOND))
SEVERAL = file(
    track((0, meta(3, b"Several")), (0, b"\xc0\x20"), (0, b"\xb1\x07\x64"), *notes([48, 50] * 9), *notes([72] * 3)),
    track((0, meta(3, b"Lead")), (0, b"\xc1\x49"), (0, meta(0x59, b"\xfd\x01")), *notes(SCALE * 3, channel=1)),
    track((960, b"\xe2\x00\x40"), (0, b"\xf0\x03abc"), *notes([36, 38] * 8, channel=9), (0, meta(0x58, b"\x03\x02"))),
    division=96,
)


def read(content, **limits):
    """Onset, duration and pitch of every note."""
    return [tuple(row) for row in parse(content, **limits).table[:, :3].tolist()]


def refusal(content, **limits):
    with pytest.raises(PieceRefused) as refused:
        parse(content, **limits)
    return refused.value


# What is refused


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (b"", "empty file", ""),
        (b"These are words.\n", "not MIDI", "b'Thes'"),
        (gzip.compress(SMALL, mtime=0), "not MIDI", "MThd"),
        (bytes(10_000) + SMALL, "not MIDI", "MThd"),
        (b"MThd", "cut short", "header"),
        (SMALL[:13], "cut short", "header"),
        (SMALL[:14], "cut short", "0 of its 2 tracks"),
        (b"MThd\xff\xff\xff\xff" + SMALL[8:], "cut short", "0 of its 2 tracks"),
        (file(chunk(FIRST), count=2), "cut short", "1 of its 2 tracks"),
        (file(chunk(SECOND), format=3), "broken MIDI", "format 3"),
        (file(chunk(SECOND), division=0), "no quarter note", "0 ticks"),
        (file(chunk(SECOND), division=0xE728), "no quarter note", "SMPTE"),
        (file(chunk(SECOND), division=0x8000), "no quarter note", "SMPTE"),
        (file(), "no notes", ""),
        (file(track(), track()), "no notes", ""),
        (file(track(*notes(SCALE, duration=0))), "no notes", ""),
        (file(track(*[(10, on(pitch)) for pitch in SCALE])), "no notes", ""),
        # chunks that say a wrong size
        (file(chunk(FIRST, size=len(FIRST) - 4), chunk(SECOND)), "broken MIDI", "no track begins at byte"),
        (file(chunk(FIRST, size=len(FIRST) - 5), chunk(SECOND)), "broken MIDI", "goes beyond its track"),
        (file(chunk(FIRST, size=len(FIRST) + 4), chunk(SECOND)), "broken MIDI", "no track begins at byte"),
        (file(chunk(FIRST, size=0), chunk(SECOND)), "broken MIDI", "no track begins at byte 22"),
        (file(chunk(FIRST, size=2**32 - 1), chunk(SECOND)), "cut short", "track 1 ends in the middle"),
        (file(chunk(FIRST), chunk(SECOND, size=len(SECOND) + 1)), "cut short", "track 2 ends in the middle"),
        (file(chunk(FIRST), chunk(SECOND, size=len(SECOND) - 1)), "broken MIDI", "beyond its track"),
        (file(chunk(b"", b"XFIH", 2**32 - 1), chunk(SECOND)), "cut short", "0 of its 2 tracks"),
        (file(b"MTrk\x00\x10\x00\x00" + b"\xff" * 1_000_000), "cut short", "track 1"),
        # events that cannot be
        (file(track((0, b"\x3c\x50"))), "broken MIDI", "data where an event should begin"),
        (file(track((0, meta(1, b"x")), (0, b"\x3c\x50"))), "broken MIDI", "data where an event should begin"),
        (file(track((0, b"\xf4"), *notes(SCALE))), "broken MIDI", "0xf4 is no event"),
        (file(track((0, b"\xfe"), *notes(SCALE))), "broken MIDI", "0xfe is no event"),
        (file(track((0, b"\x90\x80\x50"))), "broken MIDI", "above 127"),
        (file(track((0, b"\x90\x3c\xff"))), "broken MIDI", "above 127"),
        (file(track((0, b"\x80\x3c\x80"))), "broken MIDI", "above 127"),
        (file(track((0, b"\xc0\x80"))), "broken MIDI", "above 127"),
        (file(track((0, b"\xd0\x80"))), "broken MIDI", "above 127"),
        (file(track((0, b"\xb0\x07\x80"))), "broken MIDI", "above 127"),
        (file(track((0, b"\xe0\x80\x00"))), "broken MIDI", "above 127"),
        (file(chunk(b"\x81\x82\x83\x84\x05" + on(60))), "broken MIDI", "more than four bytes"),
        (file(chunk(b"\xff" * 100_000)), "broken MIDI", "more than four bytes"),
        (file(chunk(b"\x00\xff\x01\xff\xff\xff\x7f")), "broken MIDI", "goes beyond its track"),
        (file(chunk(b"\x00\xff\x2f\x05")), "broken MIDI", "goes beyond its track"),
        (file(chunk(b"\x00\xf0\x05ab"), track()), "broken MIDI", "goes beyond it"),
        (file(chunk(b"\x00\x90\x3c")), "cut short", "middle of track 1"),
        (file(chunk(b"\x00\xff")), "cut short", "middle of track 1"),
        (file(chunk(b"\x00")), "cut short", "middle of track 1"),
        (file(track(*notes([60], duration=2**28 - 1) * 9)), "too long", "2,415,919,095 ticks"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(content, reason, detail):
    refused = refusal(content)
    assert refused.reason == reason
    assert detail in refused.detail


@pytest.mark.parametrize("content", [TUNES[3].read_bytes(), SEVERAL, SMALL], ids=["tune", "several", "small"])
def test_a_file_cut_at_any_byte_is_refused(content):
    assert parse(content)
    for length in range(len(content)):
        assert refusal(content[:length]).reason in {"empty file", "not MIDI", "cut short"}


def test_too_many_notes_are_refused_and_read_if_that_is_wanted():
    # In one go within a track, and over many tracks.
    for tracks in ([SCALE * 12_500], [SCALE * 125] * 100):
        content = file(*[track(*notes(pitches, duration=1)) for pitches in tracks])
        began = time.monotonic()
        assert refusal(content).reason == "too many notes"
        assert "50,000" in refusal(content).detail
        assert len(read(content, most_notes=100_000)) == 100_000
        assert refusal(content, most_notes=99_999).reason == "too many notes"
        assert time.monotonic() - began < 20


def test_what_takes_too_long_is_given_up():
    assert refusal(SMALL, seconds=-1).reason == TOO_SLOW


def test_a_track_of_strikes_without_release_takes_no_time():
    # Only the time of one pitch's list could grow with the square of the notes.
    events = b"\x00\x90\x3c\x50" + b"\x00\x3c\x50" * 100_000 + b"\x01\x3c\x00" * 100_000
    began = time.monotonic()
    assert len(read(file(chunk(events)), most_notes=200_000)) == 100_001
    assert time.monotonic() - began < 5


# What is read


def test_notes_tempo_metre_names_and_parts():
    score = parse(SEVERAL)
    assert (score.resolution, score.format, score.names) == (96, 1, ["Several", "Lead", ""])
    assert score.parts == [Part(32, False, "Several"), Part(73, False, "Lead"), Part(0, True, "")]
    assert (score.tracks, score.keys, score.metres) == ([0, 1, 2], [(1, 0, "C minor")], [(2, 4800, (3, 4))])
    assert len(score.table) == 21 + 24 + 16
    assert score.table[0].tolist() == [0, 240, 48, 80, 0]
    assert score.table[1].tolist() == [0, 240, 60, 80, 1]
    assert (np.diff(score.table[:, 0]) >= 0).all()


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([(0, on(60)), (10, off(60))], [(0, 10, 60)]),
        ([(0, on(60)), (10, on(60, 0))], [(0, 10, 60)]),
        ([(5, on(0)), (1, off(0)), (0, on(127, 1)), (1, off(127))], [(5, 1, 0), (6, 1, 127)]),
        # struck again: before the release of the same tick, after it, and while it sounds
        ([(0, on(60)), (10, on(60)), (0, off(60)), (10, off(60))], [(0, 10, 60), (10, 10, 60)]),
        ([(0, on(60)), (10, off(60)), (0, on(60)), (10, off(60))], [(0, 10, 60), (10, 10, 60)]),
        ([(0, on(60)), (4, on(60)), (6, off(60)), (5, off(60))], [(0, 10, 60), (4, 6, 60)]),
        # without length, and beside one that has some
        ([(0, on(60)), (0, off(60)), (3, on(62)), (4, off(62))], [(3, 4, 62)]),
        ([(0, on(60)), (0, on(60)), (0, off(60)), (4, off(60)), (0, on(61)), (1, off(61))], [(4, 1, 61)]),
        # a release of what never began, and a strike that never ends
        ([(0, off(60)), (0, on(62)), (7, off(62)), (0, on(64))], [(0, 7, 62)]),
        # the same pitch in two channels
        ([(0, on(60)), (2, on(60, channel=1)), (2, off(60)), (2, off(60, 1))], [(0, 4, 60), (2, 4, 60)]),
        # running status, also after an event that has none
        (
            [(0, on(60)), (5, b"\x3c\x00"), (0, meta(1, b"x")), (0, b"\x3e\x50"), (5, b"\x3e\x00")],
            [(0, 5, 60), (5, 5, 62)],
        ),
        ([(0, on(60)), (0, b"\xf0\x02ab"), (5, b"\x3c\x00")], [(0, 5, 60)]),
        # what does not matter here
        ([(0, b"\xa0\x3c\x40"), (0, b"\xb0\x07\x40"), (0, b"\xd0\x40"), *notes([60])], [(0, 240, 60)]),
        ([(0, meta(0x7F, bytes(300))), (0, meta(0x60, b"")), (0, b"\xf7\x01\xff"), *notes([60])], [(0, 240, 60)]),
        # nothing after the end of the track
        ([*notes([60]), (0, meta(0x2F, b"")), *notes([62])], [(0, 240, 60)]),
        # three days at the default tempo
        ([*notes([60]), (248_000_000, on(62)), (9, off(62))], [(0, 240, 60), (248_000_240, 9, 62)]),
    ],
)
def test_when_notes_begin_and_end(events, expected):
    assert read(file(track(*events))) == expected


def test_notes_of_one_tick_stand_in_order_of_pitch_part_and_velocity():
    events = [
        (0, on(62)),
        (0, on(60, 90)),
        (0, on(60, 70)),
        (0, on(60, 10, 1)),
        (9, off(62)),
        (0, off(60)),
        (0, off(60, 1)),
    ]
    rows = parse(file(track(*events))).table.tolist()
    assert rows == [[0, 9, 60, 70, 0], [0, 9, 60, 90, 0], [0, 9, 60, 10, 1], [0, 9, 62, 80, 0]]


def test_what_is_left_out_is_counted():
    zero = [(0, on(60)), (0, off(60)), (9, on(61)), (0, on(61)), (0, off(61))]
    unended = [(0, on(70)), (3, on(70)), (0, on(71))]
    nonsense = [(0, meta(0x51, b"")), (0, meta(0x51, bytes(3))), (0, meta(0x59, b"\xf8\x00")), (0, meta(0x58, b"\x04"))]
    score = parse(file(track(*zero, *unended), track(*nonsense, *notes([60]), (0, on(60)))))
    assert (score.without_length, score.never_ended, score.nonsense) == (3, 4, 4)
    assert len(score.table) == 1
    assert not score.keys
    assert not score.tempi
    assert not score.metres


@pytest.mark.parametrize(
    "content",
    [
        file(chunk(FIRST), chunk(b"any thing", b"XFIH"), chunk(b"", b"XFKM"), chunk(SECOND)),
        file(chunk(FIRST), chunk(SECOND), chunk(b"MTrk", b"CASM")),
    ],
)
def test_chunks_that_are_no_tracks_are_passed_over(content):
    content = content[:11] + b"\x02" + content[12:]  # they do not count as tracks
    assert read(content) == read(SMALL)


@pytest.mark.parametrize(
    "content",
    [
        b"RIFF\x00\x01\x00\x00RMIDdata\x00\x01\x00\x00" + SMALL,
        bytes(128) + SMALL,
        SMALL + b"anything",
        file(chunk(FIRST), chunk(SECOND, size=len(SECOND) - 4)),  # without its last event
        file(b"MTrk\x00\x00\x00\x00", chunk(SECOND)),
        b"MThd\x00\x00\x00\x08" + SMALL[8:14] + b"xy" + SMALL[14:],  # a longer header, as later versions may have
    ],
    ids=["RIFF", "MacBinary", "followed", "no end of track", "empty track", "long header"],
)
def test_what_surrounds_the_tracks_does_not_matter(content):
    assert read(content) == read(SMALL)


@pytest.mark.parametrize("division", [1, 7, 960, 32767])
def test_every_resolution(division):
    assert parse(file(chunk(SECOND), division=division)).resolution == division


def test_tempo_and_metre_are_taken_as_they_stand():
    events = [(0, meta(0x51, b"\x00\x00\x01")), (0, meta(0x51, b"\xff\xff\xff")), (7, meta(0x58, b"\x00\x02\x18\x08"))]
    score = parse(
        file(track(*events), track((1, meta(0x58, b"\xff\xff")), (0, meta(0x51, b"\x01\x00\x00??")), *notes([60])))
    )
    assert score.tempi == [(0, 0, 1), (0, 0, 0xFFFFFF), (1, 1, 65536)]
    assert score.metres == [(0, 7, (0, 4)), (1, 1, (255, 2**255))]


@pytest.mark.parametrize("mode", ["", "m"])
@pytest.mark.parametrize("sharps", range(-7, 8))
def test_keys_are_what_mido_says_they_are(sharps, mode):
    data = struct.pack("bB", sharps, bool(mode))
    score = parse(file(track((0, meta(0x59, data)), *notes([60]))))
    spelled = mido.MetaMessage.from_bytes(meta(0x59, data)).key
    tonic = spelled.removesuffix("m").replace("b", "-")
    assert score.keys == [(0, 0, f"{tonic} {'minor' if mode else 'major'}")]


def test_a_key_in_words_says_more_than_a_signature():
    words = [(0, meta(1, b"key: D dorian")), (0, meta(1, b"key: H major")), (0, meta(1, b"a key: E minor"))]
    signature = (0, meta(0x59, b"\x00\x00"))
    for events in ([*words, signature], [signature, *words], [*words, (0, meta(1, b"key: A minor")), signature]):
        assert midi.interpret(file(track(*events, *notes([60]))))[0].key == "D dorian"


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x08\x00", b"\xf8\x00", b"\x80\x00", b"\x00\x02", b"\x00\xff"])
def test_a_key_that_cannot_be_is_passed_over(data):
    score = parse(file(track((0, meta(0x59, data)), (5, meta(0x59, b"\x00\x00")), *notes([60]))))
    assert (score.keys, score.nonsense) == ([(0, 5, "C major")], 1)


@pytest.mark.parametrize(
    ("name", "read_as"),
    [
        ("Größe 🎻".encode(), "Größe 🎻"),
        ("Größe".encode("latin1"), "Größe"),
        (b"two\nlines\x00\x1b[31m", "two lines [31m"),
        (b"\xff\xfe\x80", "ÿþ"),
        ("Za\u0301\u200e\ud7ff".encode(), "Za\u0301"),
        (b" \t ", ""),
    ],
)
def test_names_are_one_line_of_utf_8_or_latin1(name, read_as):
    score = parse(file(track((0, meta(3, name)), (0, meta(3, b"second")), *notes([60]))))
    assert score.names == [read_as or "second"]
    assert score.parts[0].name == score.names[0]


def test_format_0_has_a_part_for_each_channel_and_program():
    events = [
        *[(0, bytes([0xC0 | channel, 10 * channel])) for channel in (0, 3, 9)],
        *[(0, on(60 + channel, channel=channel)) for channel in (3, 0, 9, 15)],
        *[(10, off(60 + channel, channel=channel)) for channel in (0, 3, 9, 15)],
        *[(0, b"\xc0\x05"), *notes([48])],
    ]
    score = parse(file(track((0, meta(3, b"All")), *events), format=0))
    assert score.parts == [
        Part(0, False, "All"),
        Part(30, False, "All"),
        Part(90, True, "All"),
        Part(0, False, "All"),
        Part(5, False, "All"),
    ]
    assert score.tracks == [0] * 5
    assert score.table[:, 4].tolist() == [0, 1, 2, 3, 4]


def test_a_program_change_concerns_what_is_struck_after_it_in_its_track():
    one = track((0, on(60)), (0, b"\xc0\x28"), (5, off(60)), (0, on(62)), (5, off(62)))
    other = track(*notes([64]))
    score = parse(file(one, other))
    assert {(part.program, row[2]) for row in score.table.tolist() for part in [score.parts[row[4]]]} == {
        (0, 60),
        (40, 62),
        (0, 64),
    }


def test_format_2_keeps_its_tracks_apart():
    metre = (0, meta(0x58, b"\x03\x02\x18\x08"))
    score = parse(file(track(metre, *notes([60])), track((0, meta(0x51, b"\x0f\x42\x40")), *notes([62])), format=2))
    assert (score.format, score.tracks) == (2, [0, 1])
    assert (score.metres, score.tempi) == ([(0, 0, (3, 4))], [(1, 0, 1_000_000)])


# Beside pretty_midi


def theirs(content):
    """All notes that pretty_midi finds, in ticks."""
    score = pretty_midi.PrettyMIDI(io.BytesIO(content))
    return sorted(
        (start, score.time_to_tick(note.end) - start, note.pitch, note.velocity, part.is_drum)
        for part in score.instruments
        for note in part.notes
        for start in [score.time_to_tick(note.start)]
    )


def ours(content):
    score = parse(content)
    return sorted((*row, score.parts[part].drums) for *row, part in score.table.tolist())


def test_shipped_tunes_have_the_notes_that_pretty_midi_finds():
    assert len(TUNES) > 900
    for path in TUNES[::3]:
        content = path.read_bytes()
        assert ours(content) == theirs(content), path


_delta = st.sampled_from([0, 0, 0, 1, 2, 7, 480])
_channel = st.sampled_from([0, 0, 1, 9])
_pitch = st.sampled_from([0, 60, 61, 127])
_messages = st.one_of(
    st.builds(
        mido.Message, st.just("note_on"), time=_delta, channel=_channel, note=_pitch, velocity=st.integers(0, 127)
    ),
    st.builds(
        mido.Message, st.just("note_off"), time=_delta, channel=_channel, note=_pitch, velocity=st.integers(0, 127)
    ),
    st.builds(mido.Message, st.just("program_change"), time=_delta, channel=_channel, program=st.integers(0, 127)),
    st.builds(mido.Message, st.just("pitchwheel"), time=_delta, channel=_channel, pitch=st.integers(-8192, 8191)),
    st.builds(mido.MetaMessage, st.just("marker"), time=_delta, text=st.sampled_from(["", "a marker"])),
)
_tempi = st.builds(mido.MetaMessage, st.just("set_tempo"), time=_delta, tempo=st.integers(200_000, 900_000))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(_messages, max_size=60), min_size=1, max_size=4), st.lists(_tempi, max_size=3))
def test_made_up_files_have_the_notes_that_pretty_midi_finds(tracks, tempi):
    made = mido.MidiFile(ticks_per_beat=480, tracks=[mido.MidiTrack([*tempi, *messages]) for messages in tracks])
    for track in made.tracks[1:]:
        del track[: len(tempi)]
    stream = io.BytesIO()
    made.save(file=stream)
    content = stream.getvalue()
    expected = theirs(content)
    if expected:
        assert ours(content) == expected
    else:
        assert refusal(content).reason == "no notes"


# Damage


def damaged(content, draw):
    """Some bytes changed, put in, taken out, doubled or moved."""
    content = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 3, 10])):
        at = draw.randrange(len(content))
        to = min(len(content), at + draw.choice([1, 2, 4, 30]))
        kind = draw.randrange(5)
        if kind == 0:
            content[at] = draw.choice([0, 1, 0x7F, 0x80, 0xFF, 0x90, draw.randrange(256)])
        elif kind == 1:
            content[at] ^= 1 << draw.randrange(8)
        elif kind == 2:
            content[at:at] = draw.randbytes(to - at)
        elif kind == 3 and len(content) > to - at:
            del content[at:to]
        else:
            content[at:at] = content[at:to]
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "every_part"),
    [(name, every) for name in ("small", "several", "tune", "format 0") for every in (False, True)]
    + [("format 2", False)],
)
def test_damaged_files_are_refused_or_read_and_written_back_the_same(tmp_path, name, every_part):
    content = {
        "small": SMALL,
        "several": SEVERAL,
        "tune": TUNES[3].read_bytes(),
        "format 0": file(track(*notes(SCALE), *notes(SCALE, channel=1), (0, meta(1, b"key: D dorian"))), format=0),
        "format 2": file(chunk(SECOND), track(*notes(SCALE * 3)), format=2),
    }[name]
    draw = random.Random(f"{name} {every_part}")
    path = tmp_path / "again.mid"
    read = refused = 0
    for _ in range(1000):
        try:
            piece, _ = midi.interpret(damaged(content, draw), every_part=every_part)
        except PieceRefused:
            refused += 1
            continue
        read += 1
        if piece.end > 100_000 and read % 20:  # writing takes time in proportion
            continue
        midi.write(piece, path)
        again, _ = midi.interpret(path.read_bytes(), every_part=every_part)
        if len(piece.parts) == 1:  # a single part is written with the name of the whole
            again, piece = (replace(one, parts=(replace(one.parts[0], name=""),)) for one in (again, piece))
        assert again == piece
    assert read > 50
    assert refused > 50
