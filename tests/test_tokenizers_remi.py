import sys

import pytest
import torch

from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.notes import REST, Note, Part, Piece
from seqgan_music.tokenizers.remi import RemiTokenizer

VIOLIN, BASS, DRUMS = Part(40), Part(33), Part(0, True)


@pytest.fixture
def remi():
    pytest.importorskip("miditok", reason="the extra miditok is not installed")
    return RemiTokenizer(
        programs=[33, 40], drums=[35, 40], velocities=1, max_duration=16, metres=[[2, 4], [6, 8]], steps_per_token=2.0
    )


def score(*notes, parts=(VIOLIN, BASS, DRUMS), metre=(2, 4), velocity=80):
    """Notes as (onset, duration, pitch, part) in sixteenths."""
    made = [Note(o * 120, d * 120, p, velocity, part) for o, d, p, part in notes]
    return Piece(sorted(made, key=lambda n: (n.onset, n.pitch, n.part)), metre=metre, parts=parts)


def said(remi, ids):
    """Tokens in words."""
    return " ".join(remi._token[token] if token < remi.end_id else "." for token in ids).replace(".0.1", "")


def ids_of(remi, text):
    return [remi._id[f"{word}.0.1" if word.startswith("Duration") else word] for word in text.split()]


TUNE = score((0, 12, 48, 1), (0, 2, 72, 0), (2, 6, 76, 0), (0, 1, 36, 2), (8, 2, 74, 0), (12, 4, 50, 1), (17, 1, 71, 0))


def test_all_parts_in_one_row(remi):
    ids = remi.encode(TUNE)
    assert ids[0] == remi.start_ids[2, 4]
    assert ids[-1] == remi.end_id
    assert said(remi, ids[1:-1]) == (
        "Bar_None Position_0 Program_33 Pitch_48 Duration_12 Program_40 Pitch_72 Duration_2 Program_-1 PitchDrum_36 "
        "Duration_1 Position_2 Program_40 Pitch_76 Duration_6 Bar_None Position_0 Pitch_74 Duration_2 "
        "Position_4 Program_33 Pitch_50 Duration_4 Bar_None Position_1 Program_40 Pitch_71 Duration_1"
    )
    back = remi.decode(ids)
    assert back.parts == (BASS, VIOLIN, DRUMS)
    assert {(n.onset, n.duration, n.pitch, back.parts[n.part]) for n in back.notes} == {
        (n.onset, n.duration, n.pitch, TUNE.parts[n.part]) for n in TUNE.notes
    }


def test_a_window_says_again_what_is_held_and_which_instrument_plays(remi):
    windows = remi.windows(remi.encode(TUNE), 12, every_bar=True)
    assert said(remi, windows[1]) == (
        "Bar_None Position_0 Program_33 Pitch_48 Duration_4 Program_40 Pitch_74 Duration_2 "
        "Position_4 Program_33 Pitch_50 Duration_4"
    )
    last = remi.windows(remi.encode(score((0, 1, 60, 0), (9, 1, 62, 0))), 5, every_bar=True)[1]
    assert said(remi, last) == "Bar_None Position_1 Program_40 Pitch_62 Duration_1"


def test_the_metre_stands_in_start(remi):
    ids = remi.encode(score((0, 12, 60, 0), (12, 12, 62, 0), metre=(6, 8)))
    assert ids[0] == remi.start_ids[6, 8]
    assert said(remi, ids[1:-1]).count("Bar") == 2
    assert remi.decode(ids).metre == (6, 8)
    assert [n.onset for n in remi.decode([remi.start_ids[2, 4], *ids[1:]]).notes] == [0, 960]


def test_what_is_lost_is_what_the_docstring_says(remi):
    loud = RemiTokenizer(velocities=2, max_duration=4, drums=[35, 40])
    twice = score((0, 9, 60, 0), (0, 2, 60, 1), (4, 1, 62, 1), parts=(Part(0), Part(0)), metre=(4, 4), velocity=50)
    back = loud.decode(loud.encode(twice))
    assert len(back.parts) == 1
    assert [(n.onset // 120, n.duration // 120, n.pitch, n.velocity) for n in back.notes] == [
        (0, 2, 60, 63),
        (4, 1, 62, 63),
    ]
    long = loud.decode(loud.encode(score((0, 9, 60, 0), parts=(Part(0),), metre=(4, 4))))
    assert [(n.duration // 120) for n in long.notes] == [4]


def test_the_melody_is_the_highest_of_the_full_parts_and_of_it_the_highest_notes(remi):
    text = (
        "Bar_None Position_2 Program_40 Pitch_72 Duration_4 Pitch_60 Duration_8 Position_4 Pitch_74 Duration_1 "
        "Program_33 Pitch_100 Duration_1 Program_-1 PitchDrum_40 Duration_1 Position_7 Program_40 Pitch_70 Duration_1"
    )
    ids = torch.tensor([ids_of(remi, text)])
    melodies = remi.melodies(ids)
    notes = zip(melodies.pitch[0].tolist(), melodies.onset[0].tolist(), melodies.duration[0].tolist(), strict=True)
    assert [*notes] == [(72, 0.5, 0.5), (74, 1.0, 0.25), (70, 1.75, 0.25)]
    assert melodies.length.tolist() == [2.5], "as long as the note that is not in the melody"
    assert melodies.steps[0].tolist()[:11] == [REST, REST, 72, 72, 74, REST, REST, 70, REST, REST, -3]
    bass = ids_of(remi, "Program_33 Pitch_100 Duration_1 Position_3 Pitch_99 Duration_2")
    assert remi.melodies(torch.tensor([[*ids[0].tolist(), *bass]])).pitch.tolist() == [[99, 100, 100]]
    only_drums = remi.melodies(torch.tensor([ids_of(remi, "Bar_None Position_0 Program_-1 PitchDrum_36 Duration_4")]))
    assert only_drums.mask.sum() == 0
    assert only_drums.steps[0].tolist()[:5] == [REST] * 4 + [-3]


def test_fit_takes_instruments_drums_and_durations_of_the_pieces(remi):
    fitted = RemiTokenizer.fit([TUNE, score((0, 200, 50, 0), (4, 1, 81, 1), parts=(Part(7), Part(9), Part(11)))])
    assert fitted.programs == [7, 9, 33, 40]  # 11 plays nothing
    assert fitted.drums == (36, 36)
    assert (fitted.low, fitted.high, fitted.max_duration, fitted.velocities) == (48, 81, 64, 1)
    assert RemiTokenizer.fit([TUNE, score((0, 4, 60, 0), velocity=30)]).velocities == 4
    assert RemiTokenizer.fit([score((0, 4, 60, 0), parts=(DRUMS,))]).programs == []


@pytest.mark.parametrize(
    ("tune", "words"),
    [
        (score((0, 1, 60, 0), parts=(Part(5),)), "instrument outside the vocabulary: General MIDI program 5"),
        (score((0, 1, 60, 0), (0, 1, 50, 2)), r"pitch outside the vocabulary: .*MIDI 50; the range is 35..40"),
        (score((0, 1, 109, 0)), "pitch outside the vocabulary"),
    ],
)
def test_what_cannot_be_said_is_refused(remi, tune, words):
    with pytest.raises(PieceRefused, match=words):
        remi.encode(tune)


def test_drums_without_drums_in_the_vocabulary_are_refused(remi):
    with pytest.raises(PieceRefused, match="instrument outside the vocabulary: drums"):
        RemiTokenizer(programs=[40], metres=[[2, 4]]).encode(score((0, 1, 60, 0), (0, 1, 36, 2)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"drums": [40]}, "drums"),
        ({"drums": [40, 30]}, "drums"),
        ({"programs": []}, "programs"),
        ({"programs": [-1]}, "programs"),
        ({"velocities": 0}, "velocities"),
        ({"max_duration": 1}, "max_duration"),
        ({"steps_per_quarter": 96}, "384 steps of a bar of 4/4"),
        ({"steps_per_token": 0.0}, "steps_per_token"),
    ],
)
def test_options_out_of_range_are_refused_by_name(remi, options, words):
    with pytest.raises(UsageError, match=words):
        RemiTokenizer(**options)


def test_without_miditok_the_command_that_installs_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "miditok", None)
    with pytest.raises(UsageError, match=r"pip install miditok symusic"):
        RemiTokenizer()
    with pytest.raises(UsageError, match="miditok"):
        RemiTokenizer.fit([TUNE])
