import numpy as np
import pytest

from seqgan_music.metrics import mse
from seqgan_music.metrics.mse import fill_rests, nearest_mse, pairs_mse
from seqgan_music.notes import HELD, OUTSIDE, REST


def filled_by_hand(row):
    pitches = [pitch for pitch in row if pitch >= 0]
    if not pitches:
        return [np.nan] * len(row)
    last, filled = pitches[0], []
    for pitch in row:
        last = pitch if pitch >= 0 else last
        filled.append(float(last))
    return filled


@pytest.fixture
def curves():
    rng = np.random.default_rng(0)
    return rng.integers(48, 85, (30, 16)).astype(float), rng.integers(48, 85, (40, 16)).astype(float)


def test_rests_carry_the_last_pitch():
    steps = np.array([[HELD, REST, 60, REST, 62, OUTSIDE], [REST, REST, HELD, OUTSIDE, OUTSIDE, OUTSIDE]])
    filled = fill_rests(steps)
    assert filled[0].tolist() == [60, 60, 60, 60, 62, 62]
    assert np.isnan(filled[1]).all()


def test_rests_are_filled_as_by_hand():
    steps = np.random.default_rng(1).choice(
        [REST, HELD, OUTSIDE, 0, 60, 127], (200, 7), p=[0.4, 0.2, 0.2, 0.05, 0.1, 0.05]
    )
    np.testing.assert_array_equal(fill_rests(steps), [filled_by_hand(row) for row in steps.tolist()])


def test_both_kinds_are_the_loop(curves):
    samples, references = curves
    squares = np.array([[np.mean((a - b) ** 2) for b in references] for a in samples])
    np.testing.assert_allclose(nearest_mse(samples, references), squares.min(axis=1), rtol=1e-12)
    np.testing.assert_allclose(pairs_mse(samples, references), squares.mean(axis=1), rtol=1e-12)


def test_golden_numbers():
    assert nearest_mse([[60, 60]], [[61, 63], [50, 50]]).tolist() == [(1 + 9) / 2]
    assert pairs_mse([[60, 60]], [[61, 63], [50, 50]]).tolist() == [(5 + 100) / 2]


def test_a_perfect_match_is_exactly_zero(curves):
    samples, _ = curves
    assert nearest_mse(samples, samples).tolist() == [0.0] * len(samples)
    assert np.all(pairs_mse(samples[:1], samples[:1]) == 0)


def test_nearest_cannot_be_swapped_unnoticed():
    assert nearest_mse([[60]], [[60], [70]]).tolist() == [0]
    assert nearest_mse([[60], [70]], [[60]]).tolist() == [0, 100]


def test_blocks_do_not_change_the_numbers(curves, monkeypatch):
    samples, references = curves
    whole = nearest_mse(samples, references)
    monkeypatch.setattr(mse, "BLOCK", 3 * len(references))
    np.testing.assert_array_equal(nearest_mse(samples, references), whole)


def test_the_mean_pitch_is_nearer_than_real_music(curves):
    # Why the target is the value of real music and not the lowest.
    samples, references = curves
    assert pairs_mse(np.full((1, 16), references.mean()), references)[0] < pairs_mse(samples, references).min()


def test_melodies_without_a_pitch():
    silent, note = [np.nan, np.nan], [60.0, 62.0]
    for distance in (nearest_mse, pairs_mse):
        np.testing.assert_array_equal(distance([silent, note], [note]), [np.nan, 0])
        np.testing.assert_array_equal(distance([note], [silent, note]), [0])
        np.testing.assert_array_equal(distance([note], [silent]), [np.nan])
        np.testing.assert_array_equal(distance([note], np.zeros((0, 2))), [np.nan])
        assert distance(np.zeros((0, 2)), [note]).shape == (0,)


@pytest.mark.parametrize("distance", [nearest_mse, pairs_mse])
def test_malformed_curves_are_refused(distance):
    with pytest.raises(ValueError, match=r"\(B, S\)"):
        distance(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"\(B, S\)"):
        distance(np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="at least one"):
        distance(np.ones((2, 0)), np.ones((2, 0)))
    with pytest.raises(ValueError, match="fill_rests"):
        distance([[60, REST]], [[60, 60]])
    with pytest.raises(ValueError, match="infinite"):
        distance([[60, 60]], [[60, np.inf]])
    with pytest.raises(ValueError, match="in part"):
        distance([[60, np.nan]], [[60, 60]])


def test_malformed_steps_are_refused():
    with pytest.raises(ValueError, match="integers"):
        fill_rests(np.ones((2, 2)))
    with pytest.raises(ValueError, match="integers"):
        fill_rests(np.ones(2, dtype=int))
    for wrong in (128, OUTSIDE - 1):
        with pytest.raises(ValueError, match="MIDI number"):
            fill_rests(np.array([[wrong]]))
    assert fill_rests(np.zeros((3, 0), dtype=int)).shape == (3, 0)
