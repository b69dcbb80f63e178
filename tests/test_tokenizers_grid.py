from pathlib import Path

import numpy as np
import pytest
import torch

from seqgan_music import midi
from seqgan_music.errors import PieceRefused, UsageError
from seqgan_music.notes import HELD, OUTSIDE, REST, Note, Piece
from seqgan_music.tokenizers.grid import FIRST_PITCH_ID, HOLD_ID, REST_ID, GridTokenizer

MIDI_DATA = Path(__file__).parent.parent / "midi_data"


@pytest.fixture(scope="module")
def tunes():
    return [midi.read(path) for path in sorted(MIDI_DATA.rglob("*.mid"))]


@pytest.fixture
def grid():
    """ORGAN's vocabulary and two metres."""
    return GridTokenizer(low=48, high=93, metres=[[2, 4], [6, 8]])


def piece(*notes, metre=(2, 4), resolution=480):
    """Notes as (onset, duration, pitch) in sixteenths."""
    step = resolution // 4
    return Piece(tuple(Note(o * step, d * step, p) for o, d, p in notes), resolution, metre=metre)


def test_the_vocabulary_of_organ(grid):
    ids = grid.encode(piece((0, 2, 48), (4, 1, 93), (5, 3, 60)))
    #                  START, C3, hold, rest, hold, A6, C4, hold, hold, END
    assert ids == [grid.start_ids[2, 4], 2, 1, 0, 1, 47, 14, 1, 1, grid.end_id]
    assert grid.end_id == 48
    assert (REST_ID, HOLD_ID, FIRST_PITCH_ID) == (0, 1, 2)


def test_silence_at_the_beginning_is_a_rest_with_holds(grid):
    assert grid.encode(piece((3, 1, 60)))[1:-1] == [0, 1, 1, 14]


def test_a_note_ends_where_the_next_begins_and_a_repeated_note_is_struck_again(grid):
    assert grid.encode(piece((0, 4, 60), (2, 2, 60)))[1:-1] == [14, 1, 14, 1]


def test_onsets_off_the_grid_are_rounded_and_counted(grid):
    swung = Piece(tuple(Note(120 * i + (30 if i == 3 else 0), 120, 60 + i) for i in range(10)), metre=(2, 4))
    assert grid.off_grid(swung) == 1
    assert grid.encode(swung)[1:-1] == [60 + i - 48 + 2 for i in range(10)]


def test_a_tune_off_the_grid_is_refused(grid):
    triplets = Piece(tuple(Note(160 * i, 160, 60) for i in range(12)), metre=(2, 4))
    with pytest.raises(PieceRefused, match="rhythm off the grid: 8 of 12 onsets"):
        grid.encode(triplets)
    assert GridTokenizer(steps_per_quarter=12, metres=[[2, 4]]).encode(triplets)[1:5] == [41, 1, 1, 1]
    assert GridTokenizer(max_off_grid=0.7, metres=[[2, 4]]).encode(triplets)


@pytest.mark.parametrize(
    ("tune", "reason"),
    [
        (piece(), "no notes"),
        (piece((0, 1, 60), metre=(3, 4)), "metre outside the vocabulary"),
        (piece((0, 1, 60), metre=(5, 32)), "bar lines off the grid"),
        (piece((0, 1, 47)), "pitch outside the vocabulary"),
        (piece((0, 1, 94)), "pitch outside the vocabulary"),
    ],
)
def test_what_cannot_be_said_is_refused_with_a_reason(grid, tune, reason):
    with pytest.raises(PieceRefused) as refused:
        grid.encode(tune)
    assert refused.value.reason == reason


@pytest.mark.parametrize("resolution", [24, 96, 100, 220, 960])
def test_other_resolutions(grid, resolution):
    notes = tuple(Note(round(i * resolution / 4), round(resolution / 4), 60) for i in range(40))
    assert grid.encode(Piece(notes, resolution, metre=(2, 4)))[1:-1] == [14] * 40


def test_any_ids_decode_and_melodies_read_them_alike(grid):
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(-3, grid.vocab_size + 3, (300, 40), generator=rng)
    ids[:100] = torch.randint(0, 3, (100, 40), generator=rng)  # mostly holds and rests
    ids[100:200] = torch.randint(0, grid.end_id, (100, 40), generator=rng)
    start = torch.randint(grid.pad_id + 1, grid.vocab_size, (300,), generator=rng)
    melodies = grid.melodies(ids, start)
    for b in range(300):
        read = grid.decode([int(start[b]), *ids[b].tolist()])
        mask = melodies.mask[b]
        assert [n.pitch for n in read.notes] == melodies.pitch[b][mask].tolist()
        assert [n.onset / 480 for n in read.notes] == melodies.onset[b][mask].tolist()
        assert [n.duration / 480 for n in read.notes] == melodies.duration[b][mask].tolist()
        assert list(read.metre) == melodies.metre[b].tolist()
        sounding = {n.onset // 120 + i: n.pitch for n in read.notes for i in range(n.duration // 120)}
        steps = melodies.steps[b].tolist()
        assert {i: pitch for i, pitch in enumerate(steps) if pitch >= 0} == sounding
        assert mask.tolist() == sorted(mask.tolist(), reverse=True), "notes come first"
        assert melodies.length[b] * 4 == sum(step != OUTSIDE for step in steps)


def test_steps_tell_rests_holds_from_before_and_the_end(grid):
    ids = torch.tensor([[1, 1, 14, 1, 0, 1, grid.end_id, grid.pad_id], [grid.end_id] + [grid.pad_id] * 7])
    melodies = grid.melodies(ids)
    assert melodies.steps[0].tolist() == [HELD, HELD, 60, 60, REST, REST, OUTSIDE, OUTSIDE]
    assert melodies.steps[1].tolist() == [OUTSIDE] * 8
    assert melodies.length.tolist() == [1.5, 0.0]
    assert melodies.metre.tolist() == [[2, 4], [2, 4]]


def test_no_melodies_and_melodies_without_notes(grid):
    assert len(grid.melodies(torch.zeros(0, 8, dtype=torch.int64))) == 0
    assert grid.melodies(torch.zeros(3, 8, dtype=torch.int64)).mask.sum() == 0


def test_training_windows_start_at_every_bar_line(grid):
    ids = grid.encode(piece(*[(i, 1, 60 + i % 12) for i in range(32)]))
    windows = grid.windows(ids, 16, every_bar=True)
    assert windows[:, 0].tolist() == [14, 22, 18, 14]  # bars of 8 steps; the last half window is kept
    assert windows[2].tolist() == ids[1 + 16 : 1 + 32]
    assert windows[3].tolist() == [*ids[1 + 24 : 1 + 32], grid.end_id, *[grid.pad_id] * 7]
    assert grid.start_ids[2, 4] not in windows


def test_held_out_windows_do_not_overlap(grid):
    ids = grid.encode(piece(*[(i, 1, 60 + i % 12) for i in range(70)], metre=(6, 8)))
    windows = grid.windows(ids, 16, every_bar=False)
    starts = [0, 24, 48]  # bars of 12 steps, so 16 steps take two of them
    assert windows.tolist() == [ids[1 + s : 1 + s + 16] for s in starts]


def test_a_note_held_into_a_window_is_struck_again(grid):
    ids = grid.encode(piece((0, 12, 60), (20, 12, 62)))
    windows = grid.windows(ids, 8, every_bar=True)
    assert windows[1].tolist() == [14, 1, 1, 1, 0, 1, 1, 1]
    assert windows[2].tolist() == [0, 1, 1, 1, 16, 1, 1, 1]


def test_a_short_tune_is_one_window(grid):
    windows = grid.windows(grid.encode(piece((0, 2, 60))), 32, every_bar=True)
    assert windows.tolist() == [[14, 1, grid.end_id, *[grid.pad_id] * 29]]


def test_windows_lose_no_step_of_a_tune(tunes):
    tokenizer = GridTokenizer.fit(tunes)
    for tune in tunes[:50]:
        try:
            ids = tokenizer.encode(tune)
        except PieceRefused:
            continue
        bar = tokenizer.bar_tokens(ids[0], 1)
        seen = np.zeros(len(ids) - 1, dtype=bool)
        for k, window in enumerate(tokenizer.windows(ids, 64, every_bar=True)):
            inside = window != tokenizer.pad_id
            found, expected = window[inside][1:], np.array(ids[1:])[k * bar : k * bar + 64][1:]
            assert np.array_equal(found, expected)
            seen[k * bar : k * bar + 64] = True
        assert seen.all()


def test_fit_covers_the_pieces_and_options_come_first():
    pieces = [piece((0, 1, 50)), piece((0, 1, 70), metre=(6, 8)), piece((0, 1, 60), metre=(6, 8))]
    tokenizer = GridTokenizer.fit(pieces)
    assert (tokenizer.low, tokenizer.high, tokenizer.metres) == (50, 70, ((6, 8), (2, 4)))
    assert GridTokenizer.fit(pieces, low=40).low == 40
    assert GridTokenizer.fit([]).vocab_size > 88


def test_it_can_be_saved(grid):
    again = GridTokenizer.from_dict(grid.to_dict())
    assert again.to_dict() == grid.to_dict()
    assert again.encode(piece((0, 2, 60))) == grid.encode(piece((0, 2, 60)))


@pytest.mark.parametrize(
    "options", [{"steps_per_quarter": 0}, {"low": 90, "high": 80}, {"high": 128}, {"max_off_grid": 2.0}, {"metres": []}]
)
def test_options_out_of_range_are_refused_by_name(options):
    with pytest.raises(UsageError, match=rf"tokenizer\.{next(iter(options)).replace('high', 'low and high')[:3]}"):
        GridTokenizer(**options)


def test_a_metre_off_the_grid_is_refused():
    with pytest.raises(UsageError, match="5/32"):
        GridTokenizer(metres=[[5, 32]])
