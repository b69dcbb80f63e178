import itertools
import math

import numpy as np
import pytest
from scipy.stats import gaussian_kde

from seqgan_music.metrics.events import REST_EVENT, event_codes
from seqgan_music.metrics.sequences import Sequences
from seqgan_music.metrics.yang_lerch import FEATURES, NOTE_LENGTHS, UNIFORM_SHARE, VECTOR, compare, features, vectors

SPQ = 4


def events(*tunes):
    """Tunes of (pitch or None, steps) as note events."""
    coded = [[int(event_codes(REST_EVENT if pitch is None else pitch, steps)) for pitch, steps in one] for one in tunes]
    return Sequences.from_lists(coded)


def plainly(tune):
    """The nine features of a tune of (pitch or None, steps), read one note after the other."""
    notes, at = [], 0
    for pitch, steps in tune:
        if pitch is not None:
            notes.append((pitch, at / SPQ, steps / SPQ))
        at += steps
    pitches, classes = [note[0] for note in notes], [note[0] % 12 for note in notes]
    kinds = [min(range(12), key=lambda k: (abs(NOTE_LENGTHS[k] - note[2]), k)) for note in notes]
    nan = math.nan

    def shares(values, size):
        return [values.count(k) / len(values) if values else nan for k in range(size)]

    def pairs(values):
        return [a * 12 + b for a, b in itertools.pairwise(values)]

    return {
        "pitch_count": [len(set(pitches)) if notes else nan],
        "pitch_class_histogram": shares(classes, 12),
        "pitch_range": [max(pitches) - min(pitches) if notes else nan],
        "pitch_interval": [
            sum(abs(a - b) for a, b in itertools.pairwise(pitches)) / (len(notes) - 1) if len(notes) > 1 else nan
        ],
        "note_count": [len(notes)],
        "inter_onset_interval": [(notes[-1][1] - notes[0][1]) / (len(notes) - 1) if len(notes) > 1 else nan],
        "note_length_histogram": shares(kinds, 12),
        "pitch_class_transitions": shares(pairs(classes), 144),
        "note_length_transitions": shares(pairs(kinds), 144),
    }


def random_tunes(rng, count):
    for _ in range(count):
        pitches = rng.integers(50, 90, rng.integers(0, 12))
        yield [(None if rng.random() < 0.2 else int(pitch), int(rng.integers(1, 20))) for pitch in pitches]


def test_features_are_those_read_note_by_note():
    tunes = [*random_tunes(np.random.default_rng(0), 60), [], [(None, 8)], [(60, 4)], [(60, 4), (None, 3), (60, 4)]]
    found = features(events(*tunes), SPQ)
    assert tuple(found) == FEATURES
    for row, tune in enumerate(tunes):
        for name, expected in plainly(tune).items():
            np.testing.assert_allclose(found[name][row], expected, atol=1e-12, err_msg=f"{name} of {tune}")


def test_a_tune_worked_out_by_hand():
    # C for a quarter, E for an eighth, a rest, G for a quarter, C above for a half note.
    found = features(events([(60, 4), (64, 2), (None, 2), (67, 4), (72, 8)]), SPQ)
    assert {name: found[name][0, 0] for name in FEATURES if found[name].shape[1] == 1} == {
        "pitch_count": 4,
        "pitch_range": 12,
        "pitch_interval": 4,
        "note_count": 4,
        "inter_onset_interval": 1,
    }
    assert found["pitch_class_histogram"][0, [0, 4, 7]].tolist() == [0.5, 0.25, 0.25]
    assert found["note_length_histogram"][0, [1, 2, 3]].tolist() == [0.25, 0.5, 0.25]
    assert np.flatnonzero(found["pitch_class_transitions"][0]).tolist() == [0 * 12 + 4, 4 * 12 + 7, 7 * 12 + 0]


def by_scipy(samples, references):
    """Overlap area and divergence by scipy's kernel estimate, integrated over a fine grid."""
    intra = np.array([np.linalg.norm(a - b) for a, b in itertools.combinations(references, 2)])
    inter = np.array([np.linalg.norm(a - b) for a in samples for b in references])
    bandwidth = intra.std(ddof=1) * len(references) ** -0.2
    low, high = min(intra.min(), inter.min()), max(intra.max(), inter.max())
    grid = np.linspace(low - 5 * bandwidth, high + 5 * bandwidth, 4001)
    p, q = (gaussian_kde(one, bandwidth / one.std(ddof=1))(grid) for one in (intra, inter))
    p, q = p / p.sum(), q / q.sum()
    mixed = [UNIFORM_SHARE / len(grid) + (1 - UNIFORM_SHARE) * one for one in (p, q)]
    return np.minimum(p, q).sum(), (mixed[0] * np.log(mixed[0] / mixed[1])).sum()


@pytest.mark.parametrize(("shift", "columns"), [(0, 1), (1, 1), (6, 1), (0.5, 12)])
def test_densities_are_scipys(shift, columns):
    rng = np.random.default_rng(1)
    references, samples = rng.normal(size=(30, columns)), rng.normal(size=(25, columns)) * 1.3 + shift
    found = compare(samples, references)
    assert found == pytest.approx(by_scipy(samples, references), rel=2e-3, abs=2e-4)


def test_what_comes_from_one_distribution_overlaps_and_what_does_not_does_not():
    rng = np.random.default_rng(0)
    real, same, near, far = (rng.normal(loc, 1, (300, 1)) for loc in (0, 0, 2, 50))
    found = [compare(made, real) for made in (same, near, far)]
    assert found[0].overlap_area > 0.95 > found[1].overlap_area > 0.3 > found[2].overlap_area
    assert found[0].kl_divergence < 0.02 < found[1].kl_divergence < 1 < found[2].kl_divergence < 20
    assert compare(real.round(), real.round()).overlap_area > 0.98, "whole numbers are no trouble"


def test_the_unit_of_a_feature_does_not_matter():
    rng = np.random.default_rng(0)
    made, real = rng.normal(1, 1, (50, 3)), rng.normal(0, 1, (40, 3))
    assert compare(1000 * made, 1000 * real) == pytest.approx(compare(made, real), rel=1e-9)


def test_constant_features_are_compared_exactly():
    constant = np.full((5, 1), 3.0)
    assert compare(constant, constant) == pytest.approx((1, 0))
    half = compare([[3.0], [3.0], [4.0], [4.0]], constant)
    assert half.overlap_area == 0.5
    assert half.kl_divergence == pytest.approx(math.log(2), abs=1e-4)
    none = compare([[4.0]], constant)
    assert none.overlap_area == 0
    assert none.kl_divergence == pytest.approx(math.log(2 / UNIFORM_SHARE), abs=1e-3), "large, but finite"
    varied = compare(np.full((8, 1), 3.0), [[1.0], [2.0], [3.0], [5.0]])
    assert 0 < varied.overlap_area < 1, "constant samples beside real ones that are not"


def test_features_that_are_not_defined_are_left_out():
    nan = [math.nan]
    assert compare([[1.0], nan, [2.0]], [[1.0], [4.0], nan, [2.0]]) == compare([[1.0], [2.0]], [[1.0], [4.0], [2.0]])
    for made, real in (([nan], [[1.0], [2.0]]), ([[1.0]], [[1.0], nan]), ([[1.0]], [nan, nan])):
        assert all(map(math.isnan, compare(made, real)))


def test_vectors_weigh_every_feature_alike():
    named = features(events(*random_tunes(np.random.default_rng(0), 80)), SPQ)
    found = vectors(named, named)
    assert found.shape == (80, 29)
    kept = found[~np.isnan(found).any(axis=1)]
    assert len(kept) > 60
    at = 0
    for name in VECTOR:
        size, there = named[name].shape[1], ~np.isnan(named[name]).any(axis=1)
        assert found[there, at : at + size].var(axis=0).sum() == pytest.approx(1), name
        np.testing.assert_allclose(found[there, at : at + size].mean(axis=0), 0, atol=1e-12)
        at += size


def test_a_constant_feature_of_the_references_keeps_its_unit():
    real = features(events([(60, 4), (62, 4)], [(62, 4), (64, 4)]), SPQ)
    made = features(events([(60, 4), (62, 4), (64, 4), (70, 4), (71, 4)]), SPQ)
    assert vectors(made, real)[0, 0] == 3, "five pitches where there always are two"
    nothing = features(events([(None, 4)]), SPQ)
    assert np.isnan(vectors(made, nothing)[0, 0])


def test_malformed_input_is_refused():
    with pytest.raises(ValueError, match="steps_per_quarter"):
        features(events([(60, 4)]), 0)
    with pytest.raises(ValueError, match="no event"):
        features([[60]], 4)
    with pytest.raises(ValueError, match="feature"):
        compare([[1.0, 2.0]], [[1.0], [2.0]])
