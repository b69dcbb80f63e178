import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_music.metrics.events import (
    REST_EVENT,
    event_codes,
    event_notes,
    event_parts,
    events_to_steps,
    note_events,
    struck_steps,
)
from seqgan_music.metrics.markov import Markov
from seqgan_music.metrics.sequences import Sequences
from seqgan_music.notes import OUTSIDE, REST

SPQ = 4


def melodies(tunes, lengths, width=None):
    """Fields of `Melodies` from lists of (pitch, onset, duration) in grid steps."""
    width = max(map(len, tunes)) if width is None else width
    pitch, onset = np.zeros((len(tunes), width), dtype=int), np.zeros((len(tunes), width))
    duration, mask = np.zeros((len(tunes), width)), np.zeros((len(tunes), width), dtype=bool)
    for row, tune in enumerate(tunes):
        for k, note in enumerate(tune):
            pitch[row, k], onset[row, k], duration[row, k] = note[0], note[1] / SPQ, note[2] / SPQ
            mask[row, k] = True
    return pitch, onset, duration, mask, np.array(lengths) / SPQ, SPQ


def parts(events):
    return [[tuple(map(int, part)) for part in zip(*event_parts(row), strict=True)] for row in events.to_lists()]


# A tune as (rest before, pitch, duration), with a closing rest.
tunes = st.tuples(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 127), st.integers(1, 5)), max_size=6), st.integers(0, 4)
)


def spelt_out(tune):
    gaps, closing = tune
    notes, grid, at = [], [], 0
    for rest, pitch, duration in gaps:
        notes.append((pitch, at + rest, duration))
        grid += [REST] * rest + [pitch] * duration
        at += rest + duration
    return notes, grid + [REST] * closing


@settings(deadline=None, max_examples=200)
@given(batch=st.lists(tunes, min_size=1, max_size=4), cut=st.integers(0, 40))
def test_notes_to_events_to_grid_is_exact(batch, cut):
    notes, grids = zip(*map(spelt_out, batch), strict=True)
    events = note_events(*melodies(notes, [len(grid) for grid in grids]))
    expected = [(grid + [OUTSIDE] * 40)[:cut] for grid in grids]
    assert events_to_steps(events, cut).tolist() == expected
    for row in parts(events):
        assert all((a[0], b[0]) != (REST_EVENT, REST_EVENT) for a, b in itertools.pairwise(row))


@settings(deadline=None, max_examples=100)
@given(batch=st.lists(tunes, min_size=1, max_size=4), cut=st.integers(0, 40))
def test_notes_can_be_read_back_and_stand_on_the_grid(batch, cut):
    spelt, grids = zip(*map(spelt_out, batch), strict=True)
    pitch, onset, duration, mask = event_notes(note_events(*melodies(spelt, [len(grid) for grid in grids])))
    struck = struck_steps(note_events(*melodies(spelt, [len(grid) for grid in grids])), cut)
    for row, expected in enumerate(spelt):
        there = mask[row]
        found = zip(pitch[row][there], onset[row][there], duration[row][there], strict=True)
        assert [tuple(map(int, note)) for note in found] == expected
        assert there[: len(expected)].all(), "notes come first"
        assert np.flatnonzero(struck[row]).tolist() == [at for _, at, _ in expected if at < cut]


def test_a_tune_with_all_its_rests():
    events = note_events(*melodies([[(60, 2, 4), (60, 6, 2), (64, 10, 2)]], [16]))
    assert parts(events) == [[(128, 2), (60, 4), (60, 2), (128, 2), (64, 2), (128, 4)]]


def test_silence_and_nothing():
    events = note_events(*melodies([[], [], [(60, 0, 4)]], [8, 0, 4]))
    assert parts(events) == [[(128, 8)], [], [(60, 4)]]
    empty = note_events(*melodies([[]], [0], width=0))
    assert empty.tokens.shape == (1, 0)
    assert note_events(*melodies([], [], width=3)).tokens.shape[0] == 0


def test_one_note_at_a_time():
    overlap = [(60, 0, 8), (64, 4, 4)]
    chord = [(60, 0, 8), (64, 0, 4), (67, 0, 2), (60, 4, 1)]
    short = [(60, 0, 8), (61, 2, 0.2), (62, 8, 2)]  # rounds to no step at all, and cuts nothing
    late = [(60, 0, 4), (62, 6, 8), (64, 20, 2)]  # beyond the length of 8
    events = note_events(*melodies([overlap, chord, short, late], [8, 5, 10, 8]))
    assert parts(events) == [
        [(60, 4), (64, 4)],
        [(67, 2), (128, 2), (60, 1)],
        [(60, 8), (62, 2)],
        [(60, 4), (128, 2), (62, 2)],
    ]


def test_times_round_to_the_nearest_step_halves_up():
    events = note_events(*melodies([[(60, 0.4, 1.9), (62, 2.5, 1.0)]], [4.4]))
    assert parts(events) == [[(60, 2), (128, 1), (62, 1)]]


def test_padding_is_not_read():
    pitch, onset, duration, mask, length, spq = melodies([[(60, 0, 4)], [(60, 0, 2), (62, 2, 2)]], [4, 4])
    expected = note_events(pitch, onset, duration, mask, length, spq).to_lists()
    pitch, onset, duration = (
        np.where(mask, field, junk) for field, junk in ((pitch, 999), (onset, np.nan), (duration, -1))
    )
    assert note_events(pitch, onset, duration, mask, length, spq).to_lists() == expected


def test_codes_can_be_read_back():
    pitch, duration = np.meshgrid(np.arange(129), [1, 2, 16, 10**6])
    codes = event_codes(pitch, duration)
    assert len(np.unique(codes)) == codes.size
    for field, back in zip((pitch, duration), event_parts(codes), strict=True):
        np.testing.assert_array_equal(back, field)


def test_durations_beyond_the_grid_do_not_overflow():
    huge = int(event_codes(60, 2**55))
    assert events_to_steps([[huge] * 300], 3).tolist() == [[60, 60, 60]]


def test_malformed_notes_are_refused():
    pitch, onset, duration, mask, length, spq = melodies([[(60, 0, 4), (62, 4, 4)]], [8])
    with pytest.raises(ValueError, match=r"\(B, K\)"):
        note_events(pitch[:, :1], onset, duration, mask, length, spq)
    with pytest.raises(ValueError, match=r"\(B, K\)"):
        note_events(pitch, onset, duration, mask, np.ones(2), spq)
    with pytest.raises(ValueError, match="steps_per_quarter"):
        note_events(pitch, onset, duration, mask, length, 0)
    with pytest.raises(ValueError, match="order"):
        note_events(pitch, onset[:, ::-1], duration, mask, length, spq)
    with pytest.raises(ValueError, match="pitch"):
        note_events(pitch + 66, onset, duration, mask, length, spq)
    for wrong in (np.nan, -1.0, np.inf):
        with pytest.raises(ValueError, match="finite"):
            note_events(pitch, onset, np.where(pitch == 62, wrong, duration), mask, length, spq)


def test_malformed_events_are_refused():
    with pytest.raises(ValueError, match="no event"):
        events_to_steps([[60]], 4)
    with pytest.raises(ValueError, match="no event"):
        event_notes([[60]])
    with pytest.raises(ValueError, match="grid"):
        struck_steps([[576]], -1)
    with pytest.raises(ValueError, match="-1 steps"):
        events_to_steps([[576]], -1)
    for pitch, duration in ((-1, 1), (129, 1), (60, 0)):
        with pytest.raises(ValueError, match="event"):
            event_codes(pitch, duration)


def test_markov_has_the_frequencies_it_was_fitted_to():
    rng = np.random.default_rng(0)
    chain = Markov(1).fit([[1, 2], [1, 3], [1, 3], [1, 3]])
    rows = chain.sample(20_000, rng, length=5).to_lists()
    assert {tuple(row) for row in rows} == {(1, 2), (1, 3)}
    assert np.mean([row == [1, 3] for row in rows]) == pytest.approx(3 / 4, abs=0.02)


def test_markov_learns_the_end():
    rows = Markov(0).fit([[5, 5, 5]]).sample(40_000, np.random.default_rng(0), length=1000)
    assert rows.lengths.mean() == pytest.approx(3, rel=0.03)  # geometric: an end after every fourth symbol
    for ended in (False, np.array([False])):
        chain = Markov(0).fit([[5, 5, 5]], ended=ended)
        assert chain.sample(9, np.random.default_rng(0), length=50).lengths.tolist() == [50] * 9
    # Only the tune with the 2 came to its end; what follows the 3 is anything at all.
    chain = Markov(1).fit([[1, 2], [1, 3]], ended=np.array([True, False]))
    rows = chain.sample(500, np.random.default_rng(0), length=4).to_lists()
    assert {len(row) for row in rows if row[1] == 2} == {2}
    assert {len(row) for row in rows if row[1] == 3} == {2, 3, 4}


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_markov_only_says_what_it_has_seen(order):
    rng = np.random.default_rng(order)
    tunes = [rng.integers(0, 4, rng.integers(0, 12)).tolist() for _ in range(30)]

    def grams(rows):
        marked = [["start"] * order + row + ["end"] for row in rows]
        return {tuple(row[i : i + order + 1]) for row in marked for i in range(len(row) - order)}

    found = Markov(order).fit(tunes).sample(300, rng, length=200)
    assert found.lengths.max() < 200
    assert grams(found.to_lists()) <= grams(tunes)


def test_order_two_reproduces_what_order_one_cannot():
    tunes = [[1, 2, 3], [4, 2, 5]] * 3
    for order, expected in ((1, 4), (2, 2)):
        rows = Markov(order).fit(tunes).sample(400, np.random.default_rng(0), length=9).to_lists()
        assert len({tuple(row) for row in rows}) == expected


def test_unseen_contexts_back_off_to_shorter_ones():
    # Nothing is known after (1, 2), and nothing after 2 alone: any symbol may follow.
    rows = Markov(2).fit([[1, 2]], ended=False).sample(500, np.random.default_rng(0), length=3).to_lists()
    assert {tuple(row) for row in rows} == {(1, 2, 1), (1, 2, 2)}
    # After (3, 2) nothing is known because both were cut, after 2 something is.
    chain = Markov(2).fit([[3, 2], [1, 2, 9]], ended=False)
    rows = chain.sample(500, np.random.default_rng(0), length=3).to_lists()
    assert {tuple(row) for row in rows} == {(3, 2, 9), (1, 2, 9)}


def test_samples_fill_the_grid_and_the_last_event_is_cut():
    codes = event_codes([60, REST_EVENT, 72], [3, 4, 2]).tolist()
    rows = Markov(1).fit([codes], ended=False).sample(50, np.random.default_rng(0), steps=8)
    assert parts(rows)[0] == [(60, 3), (128, 4), (72, 1)]
    assert not (events_to_steps(rows, 8) == OUTSIDE).any()
    assert (events_to_steps(rows, 9)[:, 8] == OUTSIDE).all()
    ended = Markov(1).fit([codes]).sample(5, np.random.default_rng(0), steps=20)
    assert parts(ended)[0] == [(60, 3), (128, 4), (72, 2)]


def test_the_generator_alone_decides_what_is_drawn():
    tunes = np.random.default_rng(0).integers(0, 5, (20, 10))
    for order in (1, 2):
        chain, reordered = Markov(order).fit(tunes), Markov(order).fit(tunes[::-1])
        first = chain.sample(30, np.random.default_rng(7), length=12).to_lists()
        assert first == reordered.sample(30, np.random.default_rng(7), length=12).to_lists()
        assert first != chain.sample(30, np.random.default_rng(8), length=12).to_lists()


def test_markov_refuses_what_cannot_be_meant():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="order"):
        Markov(-1)
    with pytest.raises(ValueError, match="fitted before"):
        Markov(1).sample(1, rng, length=1)
    with pytest.raises(ValueError, match="fitted to nothing"):
        Markov(1).fit([])
    with pytest.raises(ValueError, match="fitted to nothing"):
        Markov(1).fit([[], []], ended=False)
    chain = Markov(1).fit([[1, 2]])
    for rule in ({}, {"length": 2, "steps": 2}):
        with pytest.raises(ValueError, match="exactly one"):
            chain.sample(1, rng, **rule)
    with pytest.raises(ValueError, match="no event"):
        chain.sample(1, rng, steps=4)
    with pytest.raises(ValueError, match="cannot sample"):
        chain.sample(-1, rng, length=4)
    with pytest.raises(ValueError, match="broadcast"):
        chain.fit([[1], [2]], ended=np.array([True, False, True]))


def test_markov_of_empty_tunes_is_empty():
    rows = Markov(2).fit([[], []]).sample(3, np.random.default_rng(0), length=5)
    assert isinstance(rows, Sequences)
    assert rows.to_lists() == [[], [], []]
