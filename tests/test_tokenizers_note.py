import pytest
import torch

from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.notes import HELD, OUTSIDE, REST, Note, Piece
from seqgan_music.tokenizers.note import NoteTokenizer


@pytest.fixture
def short():
    """Rest, hold, C, C# and D of 1, 2 and 4 steps."""
    return NoteTokenizer(low=60, high=62, durations=[1, 2, 4], metres=[[2, 4]])


def piece(*notes, metre=(2, 4)):
    """Notes as (onset, duration, pitch) in sixteenths."""
    return Piece(tuple(Note(o * 120, d * 120, p) for o, d, p in notes), metre=metre)


REST1, REST2, REST4, HOLD1, HOLD2, HOLD4, C1, C2, C4, CIS1, CIS2, CIS4, D1, D2, D4, END, PAD, START = range(18)


def test_one_token_a_note_and_holds_for_what_is_longer(short):
    assert short.vocab_size == START + 1
    ids = short.encode(piece((3, 2, 60), (5, 11, 61), (16, 1, 62)))
    assert ids == [START, REST2, HOLD1, C2, CIS4, HOLD4, HOLD2, HOLD1, D1, END]


def test_a_duration_that_never_met_a_pitch_can_be_said():
    tokenizer = NoteTokenizer.fit([piece((0, 4, 60), (4, 2, 64))])
    other = piece((0, 2, 60), (2, 4, 64), (6, 3, 61))
    assert len(tokenizer.encode(other)) == 1 + 2 + 2 + 1
    assert tokenizer.decode(tokenizer.encode(other)).notes == other.notes


def test_fit_takes_the_durations_that_are_not_rare():
    tune = [(2 * i, 2, 60) for i in range(2000)]
    tokenizer = NoteTokenizer.fit([piece(*tune, (4000, 7, 60)), piece(*tune[:2], (4, 3, 62), (8, 3, 62), (12, 3, 62))])
    assert tokenizer.durations == [1, 2, 3]  # 1 always, 7 once in two thousand
    assert tokenizer.steps_per_token == 2.0
    assert NoteTokenizer.fit([piece(*tune)], durations=[1, 4]).durations == [1, 4]
    assert NoteTokenizer.fit([piece(*tune)], durations=[1]).steps_per_token == 1.0


def test_a_window_strikes_again_what_is_held_into_it_for_as_long_as_it_lasts(short):
    ids = short.encode(piece((0, 11, 60), (14, 3, 62), (17, 2, 61), (19, 2, 61), (21, 3, 62)))
    assert ids[1:] == [C4, HOLD4, HOLD2, HOLD1, REST2, HOLD1, D2, HOLD1, CIS2, CIS2, D2, HOLD1, END]
    windows = short.windows(ids, 4, every_bar=True)
    assert windows.tolist() == [
        [C4, HOLD4, HOLD2, HOLD1],
        [C2, HOLD1, REST2, HOLD1],
        [D1, CIS2, CIS2, D2],
    ]
    assert short.windows(ids, 5, every_bar=False).tolist() == [
        [C4, HOLD4, HOLD2, HOLD1, REST2],  # ends in the second bar
        [D1, CIS2, CIS2, D2, HOLD1],
    ]
    assert short.windows(ids, 16, every_bar=True)[0].tolist() == [*ids[1:], *[PAD] * 3]


def test_a_rest_held_into_a_window_is_a_rest(short):
    windows = short.windows(short.encode(piece((0, 1, 60), (12, 4, 62))), 2, every_bar=True)
    assert windows.tolist() == [[C1, REST4], [REST4, D4]]


def test_steps_tell_rests_holds_from_before_and_the_end(short):
    short.steps_per_token = 2.0
    melodies = short.melodies(torch.tensor([[HOLD1, C2, REST1, END], [D4, HOLD4, START, HOLD1]]))
    assert melodies.steps.tolist() == [
        [HELD, 60, 60, REST, *[OUTSIDE] * 4],
        [62] * 8,  # the ninth step lies beyond
    ]
    assert melodies.length.tolist() == [1.0, 2.25]
    assert melodies.duration.tolist() == [[0.5], [2.25]]


def test_bars_cannot_be_counted_in_tokens(short):
    assert short.bar_tokens(START, 4) is None


@pytest.mark.parametrize(
    ("tune", "reason"),
    [
        (piece((0, 1, 60), metre=(5, 32)), "bar lines off the grid"),
        (Piece(tuple(Note(160 * i, 160, 60) for i in range(12)), metre=(2, 4)), "rhythm off the grid"),
    ],
)
def test_what_cannot_be_said_is_refused_with_a_reason(short, tune, reason):
    with pytest.raises(PieceRefused) as refused:
        short.encode(tune)
    assert refused.value.reason == reason


@pytest.mark.parametrize("durations", [[], [2, 4], [0, 1], [1, 1], ["a"], [-1, 1]])
def test_durations_that_cannot_be_meant_are_refused(durations):
    with pytest.raises(UsageError, match=r"tokenizer\.durations"):
        NoteTokenizer(durations=durations)


@pytest.mark.parametrize("steps_per_token", [0.0, -1.0, 1e6, float("nan")])
def test_absurd_lengths_of_melodies_are_refused(steps_per_token):
    with pytest.raises(UsageError, match=r"tokenizer\.steps_per_token"):
        NoteTokenizer(steps_per_token=steps_per_token)
