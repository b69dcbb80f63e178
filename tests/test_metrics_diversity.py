import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_music.metrics import diversity
from seqgan_music.metrics.diversity import distinct_n, edit_distance_diversity, edit_distances, unique_share
from seqgan_music.metrics.sequences import Sequences

rows = st.lists(st.lists(st.integers(0, 3), max_size=8), min_size=2, max_size=8)


def levenshtein(a, b):
    above = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        line = [i]
        for j, y in enumerate(b, start=1):
            line.append(min(above[j] + 1, line[-1] + 1, above[j - 1] + (x != y)))
        above = line
    return above[-1]


def mean_distance(samples):
    pairs = itertools.combinations(samples, 2)
    return np.mean([levenshtein(a, b) / max(len(a), len(b), 1) for a, b in pairs])


@settings(deadline=None, max_examples=200)
@given(first=rows, second=rows)
def test_edit_distances_are_levenshteins(first, second):
    count = min(len(first), len(second))
    first, second = first[:count], second[:count]
    expected = [levenshtein(a, b) for a, b in zip(first, second, strict=True)]
    assert edit_distances(first, second).tolist() == expected
    assert edit_distances(second, first).tolist() == expected


def test_edit_distances_of_long_sequences_in_many_chunks(monkeypatch):
    rng = np.random.default_rng(0)
    first = Sequences(rng.integers(0, 5, (40, 30)), rng.integers(0, 31, 40))
    second = Sequences(rng.integers(0, 5, (40, 50)), rng.integers(0, 51, 40))
    expected = [levenshtein(a, b) for a, b in zip(first.to_lists(), second.to_lists(), strict=True)]
    assert edit_distances(first, second).tolist() == expected
    monkeypatch.setattr(diversity, "CELLS", 200)
    assert edit_distances(first, second).tolist() == expected


def test_edit_distances_of_long_alphabets():
    first = [list(range(20_000, 20_003)), list(range(40_000))[-3:]]
    assert edit_distances([*first, list(range(33_000))], [first[1], first[1], [5]]).tolist() == [3, 0, 32_999]


def test_golden_edit_distance():
    kitten, sitting = [list(map(ord, word)) for word in ("kitten", "sitting")]
    assert edit_distances([kitten], [sitting]).tolist() == [3]
    assert edit_distance_diversity([kitten, sitting]) == (3 / 7, 1, 1)


@settings(deadline=None, max_examples=50)
@given(samples=rows)
def test_diversity_is_the_mean_over_all_pairs(samples):
    found = edit_distance_diversity(samples)
    assert found.mean == pytest.approx(mean_distance(samples), abs=1e-12)
    assert found.pairs == found.population == len(samples) * (len(samples) - 1) // 2


def test_no_sample_is_compared_with_itself():
    assert edit_distance_diversity([[1], [2], [3]]).mean == 1
    assert edit_distance_diversity([[1], [1], [1]]).mean == 0


def test_pairs_are_drawn_without_repetition_and_counted():
    samples = np.random.default_rng(0).integers(0, 6, (60, 12))
    whole = edit_distance_diversity(samples)
    some = edit_distance_diversity(samples, max_pairs=500, seed=1)
    assert (some.pairs, some.population) == (500, 1770)
    assert some == edit_distance_diversity(samples, max_pairs=500, seed=1)
    assert some != edit_distance_diversity(samples, max_pairs=500, seed=2)
    assert some.mean == pytest.approx(whole.mean, abs=0.02)
    # All but one pair: what is missing is one distance, so that none was drawn twice.
    most = edit_distance_diversity(samples, max_pairs=1769)
    missing = whole.mean * 1770 - most.mean * 1769
    assert min(abs(missing - d / 12) for d in range(13)) < 1e-9


def test_unique_share():
    assert unique_share([[1, 2], [1, 2], [2, 1], [1, 2]]) == 0.5
    assert unique_share([[0], [0, 0], []]) == 1
    assert unique_share(Sequences(np.array([[1, 5], [1, 6]]), np.array([1, 1]))) == 0.5
    assert np.isnan(unique_share([]))


@settings(deadline=None, max_examples=50)
@given(samples=rows, n=st.integers(1, 4))
def test_distinct_n_is_a_set_of_ngrams(samples, n):
    grams = [tuple(row[i : i + n]) for row in samples for i in range(len(row) - n + 1)]
    found = distinct_n(samples, n)
    assert found == len(set(grams)) / len(grams) if grams else np.isnan(found)


def test_nothing_to_compare_is_nan():
    assert np.isnan(distinct_n([[1]], 2))
    assert np.isnan(distinct_n([], 1))
    for samples in ([], [[1, 2]]):
        found = edit_distance_diversity(samples)
        assert np.isnan(found.mean)
        assert (found.pairs, found.population) == (0, 0)


def test_malformed_input_is_refused():
    with pytest.raises(ValueError, match="at least one token"):
        distinct_n([[1]], 0)
    with pytest.raises(ValueError, match="max_pairs"):
        edit_distance_diversity([[1], [2]], max_pairs=0)
    with pytest.raises(ValueError, match="as many"):
        edit_distances([[1]], [[1], [2]])
