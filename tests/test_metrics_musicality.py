import math

import numpy as np
import pytest
from scipy.stats import entropy

from seqgan_music.metrics import musicality
from seqgan_music.notes import OUTSIDE, REST

O = OUTSIDE  # noqa: E741, as wide as a pitch
R = REST


def notes(rng, rows=40, width=12):
    mask = np.arange(width) < rng.integers(0, width + 1, rows)[:, None]
    return np.where(mask, rng.integers(40, 90, (rows, width)), 0), mask


def test_entropy_is_scipys_in_bits():
    pitch, mask = notes(np.random.default_rng(0))
    found = musicality.pitch_class_entropy(pitch, mask)
    for row in range(len(pitch)):
        counts = np.bincount(pitch[row][mask[row]] % 12, minlength=12)
        expected = entropy(counts, base=2) if mask[row].any() else math.nan
        assert found[row] == pytest.approx(expected, nan_ok=True, abs=1e-12)
    assert musicality.pitch_class_entropy([range(60, 72)], np.ones((1, 12))).item() == pytest.approx(math.log2(12))
    assert math.copysign(1, musicality.pitch_class_entropy([[60, 72]], [[True, True]]).item()) == 1


def test_scale_consistency_is_the_best_of_24_scales():
    pitch, mask = notes(np.random.default_rng(1))
    found = musicality.scale_consistency(pitch, mask)
    major, minor = {0, 2, 4, 5, 7, 9, 11}, {0, 2, 3, 5, 7, 8, 10}
    for row in range(len(pitch)):
        own = pitch[row][mask[row]]
        if not len(own):
            assert np.isnan(found[row])
            continue
        rates = [np.mean([(p - root) % 12 in mode for p in own]) for root in range(12) for mode in (major, minor)]
        assert found[row] == pytest.approx(max(rates))
    assert musicality.scale_consistency([range(60, 72)], np.ones((1, 12), dtype=bool)).item() == pytest.approx(7 / 12)


def test_groove_compares_the_onsets_of_neighbouring_bars():
    steps = np.full((5, 12), 60)
    steps[3, 7:] = O  # the second bar of four is not whole: one is left
    struck = np.zeros((5, 12), dtype=bool)
    struck[0, [0, 4, 8]] = True  # the same in every bar
    struck[1, [0, 5, 8]] = True  # two steps of four differ, twice
    struck[2, [0, 1, 2, 3, 8, 9, 10, 11]] = True  # all four, twice
    struck[4, [0, 1, 2, 3, 4, 5]] = True  # bars of 6: all differ
    found = musicality.groove_consistency(steps, struck, [4, 4, 4, 4, 6])
    np.testing.assert_allclose(found, [1, 0.5, 0, math.nan, 0])
    assert np.isnan(musicality.groove_consistency(steps[:1], struck[:1], [4.5])).all()
    assert np.isnan(musicality.groove_consistency(steps[:1], struck[:1], [13])).all()


def test_no_empty_bar_is_counted_after_the_end():
    """MusPy 0.5.0 finds 1 - (0 + 2) / (4 · 2) here, of a bar and one after the end."""
    struck = np.tile([True, False, True, False], (1, 2))
    assert musicality.groove_consistency(np.full((1, 8), 60), struck, [4]).item() == 1


def test_empty_beats_are_those_in_which_nothing_sounds():
    steps = [
        [60, 60, R, R, 62, R, R, R],
        [60, 60, R, R, R, R, O, O],  # three beats
        [R] * 8,
        [60, O, O, O, O, O, O, O],  # no whole beat
        [-2, -2, R, R, 60, 60, 60, 60],  # held from before
    ]
    found = musicality.empty_beat_rate(steps, [2] * 5)
    np.testing.assert_allclose(found, [2 / 4, 2 / 3, 1, math.nan, 1 / 4])


def on_a_fine_grid(onset, duration, mask):
    counts = np.zeros(400)
    for o, d, m in zip(onset, duration, mask, strict=True):
        if m:
            counts[round(o * 10) : round((o + d) * 10)] += 1
    return counts.sum() / np.count_nonzero(counts) if counts.any() else math.nan


def test_polyphony_is_counted_on_a_fine_grid():
    rng = np.random.default_rng(2)
    onset = np.sort(rng.integers(0, 200, (50, 6)), axis=1) / 10
    duration = rng.integers(1, 100, (50, 6)) / 10
    mask = np.arange(6) < rng.integers(0, 7, 50)[:, None]
    found = musicality.polyphony(onset, duration, mask)
    expected = [on_a_fine_grid(*row) for row in zip(onset, duration, mask, strict=True)]
    np.testing.assert_allclose(found, expected)
    assert np.nanmax(found) > 1.5


def test_bars_that_come_back_step_for_step():
    struck = np.ones((5, 8), dtype=bool)
    steps = np.array(
        [
            [60, 62, 64, 65, 60, 62, 60, 62],  # the third and fourth of four are the first
            [60, 62, 60, 62, 60, 62, O, O],  # two of two
            [60, 62, 64, 65, 67, 69, 71, 72],
            [60, 62, O, O, O, O, O, O],  # nothing that could come back
            [60, 60, 60, 60, 64, 65, 66, 67],
        ]
    )
    struck[4, 1] = False  # the first bar has one note, the second two of the same pitch
    np.testing.assert_allclose(musicality.bars_back(steps, struck, [2] * 5), [2 / 3, 1, 0, math.nan, 0])
    assert musicality.bars_back(steps[:1], struck[:1], [4]).item() == 0


def test_bars_may_differ_in_length_and_never_borrow_from_one_another():
    rng = np.random.default_rng(3)
    steps, struck = rng.integers(60, 62, (60, 24)), rng.random((60, 24)) < 0.9
    steps[np.arange(24) >= rng.integers(0, 25, 60)[:, None]] = O
    bar = rng.choice([2, 3, 4, 6], 60)
    for metric in (musicality.bars_back, musicality.groove_consistency):
        alone = [metric(steps[i : i + 1], struck[i : i + 1], bar[i : i + 1]).item() for i in range(60)]
        np.testing.assert_array_equal(metric(steps, struck, bar), alone)
    again = musicality.bars_back(steps, struck, bar)
    for i in range(60):
        size = bar[i]
        length = int((steps[i] != O).sum())
        bars = [tuple(zip(steps[i, j : j + size], struck[i, j : j + size], strict=True)) for j in range(0, 24, size)]
        whole = bars[: length // size]
        expected = sum(one in whole[:k] for k, one in enumerate(whole)) / (len(whole) - 1) if len(whole) > 1 else None
        assert again[i] == (pytest.approx(expected) if expected is not None else pytest.approx(math.nan, nan_ok=True))


def test_malformed_input_is_refused():
    grid, onsets = np.full((2, 4), 60), np.ones((2, 4), dtype=bool)
    with pytest.raises(ValueError, match="steps and struck"):
        musicality.bars_back(grid, onsets[:, :3], [2, 2])
    with pytest.raises(ValueError, match="longer than 0"):
        musicality.groove_consistency(grid, onsets, [2, 0])
    with pytest.raises(ValueError, match="one length"):
        musicality.empty_beat_rate(grid, [2])
    with pytest.raises(ValueError, match="pitch and mask"):
        musicality.scale_consistency(grid, onsets[:1])
    with pytest.raises(ValueError, match="onset"):
        musicality.polyphony([1.0], [1.0], [True])
