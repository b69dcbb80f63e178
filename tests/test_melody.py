"""Which part of a score is its melody, where its bars lie, and what is said about the rest."""

import time

import numpy as np
import pytest

from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.melody import Selection, every_part, extract
from seqgan_music.midi_events import Score
from seqgan_music.notes import Part

QUARTER = 96
BAR = 4 * QUARTER


def line(pitches, start=0, step=QUARTER, duration=None):
    """Onset, duration and pitch of notes that follow one another."""
    return [(start + step * n, duration or step, pitch) for n, pitch in enumerate(pitches)]


def quarters(begin, end, pitch=60):
    """A note on every quarter from one quarter to another."""
    return line([pitch] * (end - begin), begin * QUARTER)


def chords(roots, intervals=(0, 4, 7)):
    return [(onset, duration, root + i) for onset, duration, root in line(roots) for i in intervals]


def score(*parts, metres=(), tempi=(), keys=(), format=1, tracks=None, **counts):
    """Parts as (name, program, notes) or (name, program, notes, drums); events as (tick, value), in track 0."""
    rows = [(*note, 80, number) for number, part in enumerate(parts) for note in part[2]]
    table = np.array(rows, dtype=np.int64)
    return Score(
        QUARTER,
        format,
        names=[part[0] for part in parts],
        table=table[np.lexsort((table[:, 4], table[:, 2], table[:, 0]))],
        parts=[Part(program, bool(drums), name) for name, program, _, *drums in parts],
        tracks=list(range(len(parts))) if tracks is None else tracks,
        metres=[(0, *event) for event in metres],
        tempi=[(0, *event) for event in tempi],
        keys=[(0, *event) for event in keys],
        **counts,
    )


def one(notes, **events):
    return score(("", 0, notes), **events)


def taken(piece):
    return [(note.onset, note.duration, note.pitch) for note in piece.notes]


LOW, MIDDLE, HIGH = ([pitch] * 32 for pitch in (48, 60, 72))

# Which part


def choice(*parts, **selection):
    """Number of the part whose notes are the melody, counted from 1, and why it was taken."""
    piece, account = extract(score(*parts), Selection(**selection))
    number = int(account.chosen.split()[1])
    part = parts[number - 1]
    assert {note.pitch for note in piece.notes} <= {pitch for _, _, pitch in part[2]}
    assert piece.parts == (Part(part[1], name=part[0]),)
    assert {note.part for note in piece.notes} == {0}
    return number, account.why


def test_the_only_part_is_taken():
    assert choice(("", 7, line(MIDDLE))) == (1, "the only part")
    assert choice(("", 7, chords([60, 62]))) == (1, "the only part, its skyline")


def test_the_highest_of_the_monophonic_parts_is_taken():
    parts = [("", 0, line(LOW)), ("", 0, line(HIGH)), ("", 0, line(MIDDLE)), ("", 0, chords([90] * 32))]
    assert choice(*parts) == (2, "the highest of 3 monophonic")
    parts[1] = ("", 0, line(HIGH[:15]))  # too short to be taken because it is high
    assert choice(*parts) == (3, "the highest of 2 monophonic")
    parts[0] = parts[1]
    assert choice(*parts) == (3, "monophonic")
    parts[2] = ("", 0, line(HIGH[:16]))
    assert choice(*parts) == (3, "monophonic")


@pytest.mark.parametrize(("together", "expected"), [(2, 2), (3, 1)])
def test_a_part_is_monophonic_up_to_five_per_cent(together, expected):
    notes = line(HIGH + [72] * 26)  # 58 notes; with 2 more, 2 of 60 are not alone, with 3 more it is 3 of 61 ...
    notes += [(QUARTER * 4 * n, QUARTER, 80) for n in range(together)]
    notes += [(QUARTER * 2, QUARTER, 81)] * (together == 3)
    assert choice(("", 0, line(LOW)), ("", 0, notes))[0] == expected


def test_notes_bound_by_a_thirty_second_are_monophonic_and_cut():
    bound = [(QUARTER * n, QUARTER + QUARTER // 8, 70 + n % 5) for n in range(32)]
    assert choice(("", 0, line(LOW)), ("", 0, bound))[0] == 2
    piece, account = extract(one(bound))
    assert taken(piece)[:-1] == [(onset, QUARTER, pitch) for onset, _, pitch in bound[:-1]]
    assert taken(piece)[-1] == bound[-1]
    assert account.left_out == ()
    longer = [(onset, duration + 1, pitch) for onset, duration, pitch in bound]
    assert choice(("", 0, line(LOW)), ("", 0, longer))[0] == 1


def test_without_a_monophonic_part_it_is_the_skyline_of_the_fullest():
    parts = [("", 0, chords([80] * 9)), ("", 0, chords([50] * 10)), ("", 0, line(HIGH[:15]))]
    number, why = choice(*parts)
    assert (number, why) == (2, "the skyline of the fullest, as none is monophonic with 16 notes or more")
    piece, account = extract(score(*parts))
    assert [note.pitch for note in piece.notes] == [57] * 10
    assert account.left_out == (
        "part 1 (program 0, 27 notes)",
        "part 3 (program 0, 15 notes)",
        "20 notes below others that begin with them",
    )


@pytest.mark.parametrize("name", ["Melody", "MELODIE", "lead vocals", "Voice 1", "Lead", "Lead guitar", "Sax Solo"])
def test_a_part_named_as_melody_is_taken_first(name):
    parts = [("Flute", 0, line(HIGH)), (name, 0, line(LOW[:4])), ("Bass", 0, line(LOW))]
    assert choice(*parts) == (2, "named as melody")
    parts[1] = (name, 0, chords([40, 41]))
    assert choice(*parts) == (2, "named as melody, its skyline")


@pytest.mark.parametrize("name", ["Leader", "Misleading", "Pad", ""])
def test_other_names_do_not_matter(name):
    assert choice(("Flute", 0, line(HIGH)), (name, 0, line(LOW)))[0] == 1


def test_of_several_named_parts_the_highest_monophonic_is_taken():
    parts = [("Flute", 0, line([90] * 32)), ("Voice 1", 0, line(MIDDLE)), ("Voice 2", 0, line(HIGH))]
    assert choice(*parts) == (3, "named as melody, the highest of 2 monophonic")
    parts[2] = ("Voice 2", 0, chords([80]))
    assert choice(*parts) == (2, "named as melody, monophonic")
    parts[1] = ("Voice 1", 0, line(MIDDLE[:2]))
    why = "named as melody, the skyline of the fullest, as none is monophonic with 16 notes or more"
    assert choice(*parts) == (3, why)


BAND = (
    ("Lead", 73, line(HIGH)),
    ("Kit", 0, line([38] * 8), True),
    ("Piano", 0, chords([60] * 20)),
    ("Violin 1", 40, line(MIDDLE)),
    ("Violin 2", 40, line(LOW)),
)


@pytest.mark.parametrize(
    ("selection", "number", "why"),
    [
        ({}, 1, "named as melody"),
        ({"track": "3"}, 3, "--track 3, its skyline"),
        ({"track": "5"}, 5, "--track 5"),
        ({"track": "PIANO"}, 3, "--track PIANO, its skyline"),
        ({"track": "violin"}, 4, "--track violin, the highest of 2 monophonic"),
        ({"track": "violin 2"}, 5, "--track violin 2"),
        ({"program": 40}, 4, "--program 40, the highest of 2 monophonic"),
        ({"program": 0}, 3, "--program 0, its skyline"),  # the drums have it too, and do not count
        ({"program": 40, "track": "2"}, None, "none for --track 2 --program 40"),
        ({"program": 40, "track": "n 2"}, 5, "--track n 2 --program 40"),
        ({"track": "2"}, None, "none for --track 2"),  # drums
        ({"track": "0"}, None, "none for --track 0"),
        ({"track": "6"}, None, "none for --track 6"),
        ({"track": "Oboe"}, None, "none for --track Oboe"),
        ({"program": 1}, None, "none for --program 1"),
        ({"monophonic_only": True}, 1, "named as melody"),
        ({"monophonic_only": True, "track": "Violin"}, 4, "--track Violin, the highest of 2 monophonic"),
    ],
)
def test_a_part_can_be_asked_for(selection, number, why):
    if number:
        assert choice(*BAND, **selection) == (number, why)
    else:
        with pytest.raises(PieceRefused) as refused:
            choice(*BAND, **selection)
        assert refused.value.reason == "no such part"
        assert refused.value.detail == (
            f"{why}; it has: part 1 'Lead' (program 73, 32 notes); part 3 'Piano' (program 0, 60 notes); "
            "part 4 'Violin 1' (program 40, 32 notes); part 5 'Violin 2' (program 40, 32 notes)"
        )


def test_only_monophonic_parts():
    parts = [("", 0, chords([90] * 40)), ("", 0, line(LOW[:3]))]
    assert choice(*parts, monophonic_only=True) == (2, "the only monophonic part")
    assert choice(*parts)[0] == 1
    for refused in ((parts[0],), (parts[0], ("Melody", 0, chords([60])))):
        with pytest.raises(PieceRefused, match="not monophonic: no part is at least 95% monophonic"):
            choice(*refused, monophonic_only=True)
    with pytest.raises(PieceRefused, match="not monophonic"):
        choice(*BAND, monophonic_only=True, track="Piano")


def test_the_skyline_of_all_parts():
    parts = (("", 5, [(0, 96, 60), (96, 96, 72)]), ("", 6, [(0, 48, 64), (192, 96, 40)]), ("", 0, [(0, 9, 90)], True))
    piece, account = extract(score(*parts), Selection(skyline=True))
    assert taken(piece) == [(0, 48, 64), (96, 96, 72), (192, 96, 40)]
    assert account.why == "--skyline of all parts"
    assert account.left_out == ("drums (1 note)", "1 note below others that begin with them")


def test_drums_are_never_the_melody():
    with pytest.raises(PieceRefused, match="only drums"):
        extract(score(("Lead", 0, line(HIGH), True)))
    with pytest.raises(PieceRefused, match="only drums"):
        extract(score(("Lead", 0, line(HIGH), True)), Selection(skyline=True))
    parts = ("Solo", 0, line(HIGH), True), ("", 0, line(LOW[:1]))
    assert choice(*parts) == (2, "the only part")


@pytest.mark.parametrize(
    ("selection", "complaint"),
    [
        ({"program": 128}, "0 to 127, not 128"),
        ({"program": -2}, "0 to 127, not -2"),
        ({"skyline": True, "track": "1"}, "leave out track"),
        ({"skyline": True, "program": 0}, "leave out track"),
        ({"skyline": True, "monophonic_only": True}, "leave out track"),
    ],
)
def test_selections_that_cannot_be_meant(selection, complaint):
    with pytest.raises(UsageError, match=complaint):
        Selection(**selection)


def test_a_note_that_is_held_is_cut_by_the_next():
    piece, _ = extract(one([(0, 300, 72), (96, 96, 64), (96, 50, 60)]))
    assert taken(piece) == [(0, 96, 72), (96, 96, 64)]


# Bars


def outside(count, metre, *others):
    what = f"{count} note{'s' if count > 1 else ''} outside the longest stretch in {metre}"
    return what + (f" (there is {', '.join(others)} too)" if others else "")


@pytest.mark.parametrize(
    ("metres", "end", "metre", "kept", "silence", "said"),
    [
        # `kept` are the quarters of which the melody has the notes, `silence` the quarters before the first
        ([], 8, (4, 4), (0, 8), 0, None),
        ([(0, (3, 4))], 8, (3, 4), (0, 8), 0, None),
        ([(0, (3, 4)), (0, (2, 4))], 8, (2, 4), (0, 8), 0, None),  # the last of one tick is in force
        ([(0, (4, 4)), (4, (4, 4)), (7, (4, 4))], 12, (4, 4), (0, 12), 0, None),  # says nothing new
        ([(0, (1, 4)), (1, (4, 4))], 17, (4, 4), (0, 17), 3, None),  # a pickup
        ([(0, (3, 4)), (3, (4, 4))], 19, (4, 4), (0, 19), 1, None),
        ([(0, (1, 4)), (1, (4, 4)), (13, (3, 4))], 16, (4, 4), (0, 16), 3, None),  # its last bar is short
        ([(0, (4, 4)), (16, (1, 4))], 17, (4, 4), (0, 17), 0, None),
        ([(0, (4, 4)), (16, (2, 4))], 20, (4, 4), (0, 20), 0, None),  # two bars that are one
        ([(0, (4, 4)), (16, (3, 4))], 22, (4, 4), (0, 16), 0, outside(6, "4/4", "3/4")),
        # a bar that a repeat divides, also with a pickup before all
        ([(0, (4, 4)), (8, (3, 4)), (11, (1, 4)), (12, (4, 4))], 20, (4, 4), (0, 20), 0, None),
        (
            [(0, (1, 4)), (1, (4, 4)), (9, (3, 4)), (12, (1, 4)), (13, (4, 4)), (21, (3, 4))],
            24,
            (4, 4),
            (0, 24),
            3,
            None,
        ),
        # as much time in another metre, but the bars before it do not end where it begins
        (
            [(0, (4, 4)), (10, (3, 4)), (13, (1, 4)), (14, (4, 4))],
            34,
            (4, 4),
            (14, 34),
            0,
            outside(14, "4/4", "3/4", "1/4"),
        ),
        # one short bar in the middle: it leads into the longer stretch, or ends it
        ([(0, (4, 4)), (8, (2, 4)), (10, (4, 4))], 30, (4, 4), (8, 30), 2, outside(8, "4/4", "2/4")),
        ([(0, (4, 4)), (20, (2, 4)), (22, (4, 4))], 30, (4, 4), (0, 20), 0, outside(10, "4/4", "2/4")),
        # a real change
        ([(0, (6, 8)), (12, (2, 4))], 40, (2, 4), (12, 40), 0, outside(12, "2/4", "6/8")),
        ([(0, (6, 8)), (24, (2, 4))], 30, (6, 8), (0, 24), 0, outside(6, "6/8", "2/4")),
        ([(0, (3, 4)), (9, (2, 4)), (25, (3, 4))], 31, (2, 4), (9, 25), 0, outside(15, "2/4", "3/4")),
        # more notes in all than any stretch of the other
        ([(0, (3, 4)), (9, (2, 2)), (25, (3, 4))], 43, (3, 4), (25, 43), 0, outside(25, "3/4", "2/2")),
        # after the last note
        ([(0, (3, 4)), (12, (2, 4))], 12, (3, 4), (0, 12), 0, None),
        ([(0, (3, 4)), (99, (0, 4))], 12, (3, 4), (0, 12), 0, None),
    ],
)
def test_the_longest_stretch_in_one_metre(metres, end, metre, kept, silence, said):
    pitches = [40 + n for n in range(end)]
    metres = [(tick * QUARTER, value) for tick, value in metres]
    piece, account = extract(one(line(pitches), metres=metres))
    assert piece.metre == metre
    assert taken(piece) == line(pitches[slice(*kept)], silence * QUARTER)
    assert account.left_out == ((said,) if said else ())
    whole, account = every_part(one(line(pitches), metres=metres))
    assert whole == piece
    assert account.left_out == ((said,) if said else ())


def test_a_metre_that_is_stated_before_the_first_note_begins_the_bars():
    piece, account = extract(one(line([60] * 8, start=1), metres=[(1, (3, 4))]))
    assert (piece.metre, taken(piece)[0], account.left_out) == ((3, 4), (0, QUARTER, 60), ())
    # silence in the default metre is no pickup
    piece, _ = extract(one(line([60] * 8, start=QUARTER), metres=[(QUARTER, (3, 4))]))
    assert (piece.metre, taken(piece)[0]) == ((3, 4), (0, QUARTER, 60))


def test_a_note_that_is_held_beyond_the_stretch_is_cut():
    notes = [*quarters(0, 7), (7 * QUARTER, 3 * QUARTER, 60), *quarters(10, 13)]
    piece, account = extract(one(notes, metres=[(0, (4, 4)), (2 * BAR, (3, 4))]))
    assert taken(piece) == quarters(0, 8)
    assert account.left_out == (outside(3, "4/4", "3/4"),)


@pytest.mark.parametrize("metre", [(0, 4), (4, 128), (4, 2**255)])
def test_a_metre_that_cannot_be_is_refused(metre):
    for metres in ([(0, metre)], [(0, (4, 4)), (QUARTER, metre)]):
        with pytest.raises(PieceRefused) as refused:
            extract(one(quarters(0, 8), metres=metres))
        assert refused.value.reason == "impossible metre"
        assert f"time signature {metre[0]}/" in refused.value.detail
        assert len(refused.value.detail) < 40
    assert extract(one(quarters(0, 8), metres=[(0, metre), (0, (3, 4))]))[0].metre == (3, 4)


def test_bars_that_are_no_whole_ticks_are_survived():
    notes = line(range(40, 72), step=17)
    metres = [(0, (1, 64)), (5, (7, 64)), (400, (4, 4))]
    piece, _ = extract(score(("", 0, notes), ("", 0, [(0, 5, 20)]), metres=metres))
    assert piece.metre == (7, 64)
    assert all(note.onset >= 0 for note in piece.notes)


def test_tracks_that_stand_alone_have_metres_tempi_and_keys_of_their_own():
    parts = ("", 0, line(LOW)), ("", 1, line(HIGH))
    events = {"metres": [(0, (3, 4))], "tempi": [(0, 300_000)], "keys": [(0, "C major")]}
    alone = score(*parts, format=2, **events)
    alone.metres.append((1, 0, (2, 4)))
    alone.tempi.append((1, 0, 600_000))
    alone.keys.append((1, 0, "D major"))
    piece, _ = extract(alone)
    assert (piece.metre, piece.tempo, piece.key, piece.parts[0].program) == ((2, 4), 100.0, "D major", 1)
    piece, _ = extract(alone, Selection(track="1"))
    assert (piece.metre, piece.tempo, piece.key, piece.parts[0].program) == ((3, 4), 200.0, "C major", 0)
    with pytest.raises(PieceRefused, match="tracks that stand alone"):
        every_part(alone)
    together, _ = extract(score(*parts, **events))  # of format 1 the first track speaks for all
    assert (together.metre, together.tempo, together.key) == ((3, 4), 200.0, "C major")


def test_many_changes_of_metre_take_no_time():
    metres = [(tick, (1 + tick % 7, 4)) for tick in range(0, 200_000)]
    began = time.monotonic()
    piece, account = extract(one(line([60] * 40_000, step=5), metres=metres))
    assert time.monotonic() - began < 10
    assert len(piece.notes) >= 1
    assert account.left_out[0].startswith(f"{40_000 - len(piece.notes)} notes outside the longest stretch")


# Tempo


@pytest.mark.parametrize(
    ("tempi", "expected"),
    [
        ([], 120.0),
        ([(0, 616_650)], 97.3),
        ([(0, 300_000), (0, 600_000)], 100.0),  # the last of one tick is in force
        ([(0, 500_000), (40, 1_000_000), (44, 2_000_000)], 120.0),  # slower at the end
        ([(4, 1_000_000)], 60.0),  # not stated at the beginning
        ([(0, 400_000), (24, 600_000)], 120.0),  # half and half
        ([(n, 400_000 + 100_000 * (n % 5)) for n in range(0, 48)], 6e7 / 593_750),  # rubato
        ([(0, 600_000), (48, 1), (99, 1)], 100.0),  # after the last note
        ([(0, 1)], 6e7),
        ([(0, 0xFFFFFF)], 6e7 / 0xFFFFFF),
    ],
)
def test_the_tempo_is_the_one_of_most_of_the_time_or_the_mean(tempi, expected):
    piece, _ = extract(one(quarters(0, 48), tempi=[(tick * QUARTER, tempo) for tick, tempo in tempi]))
    assert piece.tempo == pytest.approx(expected, rel=1e-6)
    assert round(6e7 / piece.tempo) == round(6e7 / expected)


def test_the_tempo_is_that_of_the_stretch():
    metres = [(0, (3, 4)), (12 * QUARTER, (4, 4))]
    tempi = [(0, 1_000_000), (12 * QUARTER, 300_000)]
    piece, _ = extract(one(quarters(0, 28), metres=metres, tempi=tempi))
    assert (piece.metre, piece.tempo) == ((4, 4), 200.0)
    # and of the time in the file, where bars of silence were taken out
    late = score(("", 0, quarters(400, 448)), ("", 0, chords([40] * 400)), tempi=[(0, 10**6), (390 * QUARTER, 300_000)])
    piece, _ = extract(late, Selection(track="1"))
    assert taken(piece) == quarters(0, 48)
    assert piece.tempo == 200.0


# Silence


OTHERS = ("", 0, chords([40] * 200))


def test_silence_while_others_play_is_taken_out():
    notes = quarters(9, 12) + quarters(16, 17) + quarters(38, 39) + quarters(44, 48)
    piece, account = extract(score(("Voice", 0, notes), OTHERS))
    # Two bars before it; of those from quarter 20 to 36 three of four; the one before quarter 44 stays.
    assert taken(piece) == quarters(1, 4) + quarters(8, 9) + quarters(18, 19) + quarters(24, 28)
    assert account.left_out[-1] == "5 bars in which the melody is silent"
    waiting, account = extract(score(("Voice", 0, quarters(4, 8)), OTHERS))
    assert taken(waiting) == quarters(0, 4)
    assert account.left_out[-1] == "1 bar in which the melody is silent"


def test_silence_of_a_single_part_stays():
    notes = quarters(9, 12) + quarters(60, 64)
    piece, account = extract(one(notes))
    assert taken(piece) == notes
    assert account.left_out == ()


def test_silence_is_counted_in_bars_of_the_metre():
    notes = quarters(7, 12) + quarters(25, 27)
    piece, account = extract(score(("Voice", 0, notes), OTHERS, metres=[(0, (3, 4))]))
    assert taken(piece) == quarters(1, 6) + quarters(10, 12)
    assert account.left_out[-1] == "5 bars in which the melody is silent"


# All parts


def test_every_part_is_kept_but_those_without_a_note_in_the_stretch():
    parts = ("A", 1, quarters(0, 3)), ("Kit", 2, quarters(4, 20, 38), True), ("B", 3, chords([60] * 20))
    piece, account = every_part(score(*parts))
    assert piece.parts == (Part(1, False, "A"), Part(2, True, "Kit"), Part(3, False, "B"))
    assert len(piece.notes) == 3 + 16 + 60
    assert (account.chosen, account.left_out) == ("3 parts", ())
    piece, account = every_part(score(*parts, metres=[(0, (3, 4)), (3 * QUARTER, (4, 4))]))
    assert piece.parts == (Part(1, False, "A"), Part(2, True, "Kit"), Part(3, False, "B"))  # a pickup
    piece, account = every_part(score(*parts, metres=[(0, (2, 4)), (4 * QUARTER, (4, 4))]))
    assert piece.parts == (Part(2, True, "Kit"), Part(3, False, "B"))
    assert {note.part for note in piece.notes} == {0, 1}
    assert [note.pitch for note in piece.notes if note.part == 0] == [38] * 16
    assert (account.chosen, account.left_out) == ("2 parts", (outside(15, "4/4", "2/4"),))


def test_everything_that_was_left_out_is_said_with_true_counts():
    notes = [*quarters(4, 24, 70), (4 * QUARTER, 9, 50)]
    parts = ("Voice", 52, notes), ("Bass", 32, quarters(0, 1)), ("", 0, quarters(0, 2), True)
    events = {"metres": [(0, (4, 4)), (20 * QUARTER, (3, 4)), (23 * QUARTER, (2, 4))]}
    piece, account = extract(score(*parts, **events, without_length=1, never_ended=2, nonsense=1))
    assert account.chosen == "part 1 'Voice' (program 52, 21 notes)"
    assert account.left_out == (
        "part 2 'Bass' (program 32, 1 note)",
        "drums (2 notes)",
        "1 note below others that begin with them",
        "1 bar in which the melody is silent",
        "1 note without length",
        "2 notes that are never released",
        "1 tempo, metre or key event whose values mean nothing",
    )
    assert taken(piece) == quarters(0, 20, 70)
