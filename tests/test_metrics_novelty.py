import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_music.metrics import novelty
from seqgan_music.metrics.novelty import copied_share, longest_copy, longest_matches
from seqgan_music.metrics.sequences import Sequences

rows = st.lists(st.lists(st.integers(0, 2), max_size=9), max_size=6)


def followed(sample, i, sources):
    """Length of the longest piece of the sample from i on that is in a source, by trying."""
    best = 0
    for source in sources:
        for j in range(len(source)):
            n = 0
            while i + n < len(sample) and j + n < len(source) and sample[i + n] == source[j + n]:
                n += 1
            best = max(best, n)
    return best


@settings(deadline=None, max_examples=300)
@given(samples=rows, sources=rows)
def test_matches_are_those_found_by_trying(samples, sources):
    found = longest_matches(samples, sources)
    for row, sample in enumerate(samples):
        expected = [followed(sample, i, sources) for i in range(len(sample))]
        assert found[row, : len(sample)].tolist() == expected
        assert not found[row, len(sample) :].any()


def test_long_runs_in_sources_of_other_lengths(monkeypatch):
    rng = np.random.default_rng(0)
    sources = Sequences(rng.integers(0, 4, (50, 70)), rng.integers(0, 71, 50))
    known = sources.to_lists()
    longest = max(known, key=len)
    samples = [longest, [*longest[5:40], 9, *longest[:3]], [9, 9], [*known[3], *known[4]]]
    expected = [[followed(sample, i, known) for i in range(len(sample))] for sample in samples]
    found = longest_matches(samples, sources)
    assert [found[i, : len(one)].tolist() for i, one in enumerate(samples)] == expected
    assert found[0, 0] == len(longest)
    monkeypatch.setattr(novelty, "ROWS_AT_ONCE", 7)
    np.testing.assert_array_equal(longest_matches(samples, sources), found)


def test_no_run_goes_over_the_end_of_a_source():
    assert longest_matches([[1, 2, 3, 4]], [[1, 2], [3, 4]]).tolist() == [[2, 1, 2, 1]]
    assert longest_matches([[1, 2]], [[1, 2, 3, 4]]).tolist() == [[2, 1]]


@settings(deadline=None, max_examples=100)
@given(samples=rows, sources=rows, n=st.integers(1, 4))
def test_the_copied_share_is_that_of_the_ngrams(samples, sources, n):
    grams = {tuple(one[i : i + n]) for one in sources for i in range(len(one) - n + 1)}
    found = copied_share(samples, longest_matches(samples, sources), n)
    for share, sample in zip(found, samples, strict=True):
        own = [tuple(sample[i : i + n]) for i in range(len(sample) - n + 1)]
        if own:
            assert share == pytest.approx(sum(gram in grams for gram in own) / len(own))
        else:
            assert np.isnan(share)


def test_a_case_worked_out_by_hand():
    samples = [[1, 2, 3, 4, 5], [1, 2, 9, 4, 5], []]
    matches = longest_matches(samples, [[0, 1, 2, 3], [4, 5]])
    assert longest_copy(samples, matches).tolist()[:2] == [3, 2]
    assert np.isnan(longest_copy(samples, matches)[2])
    assert copied_share(samples, matches, 2).tolist()[:2] == [3 / 4, 2 / 4]
    assert copied_share(samples, matches, 3).tolist()[:2] == [1 / 3, 0]


def test_without_sources_nothing_is_copied():
    assert longest_copy([[1, 2]], longest_matches([[1, 2]], [])).tolist() == [0]
    assert copied_share([[1, 2]], longest_matches([[1, 2]], [[]]), 1).tolist() == [0]


def test_malformed_input_is_refused():
    with pytest.raises(ValueError, match="at least one token"):
        copied_share([[1]], np.array([[1]]), 0)
    with pytest.raises(ValueError, match="matches"):
        longest_copy([[1, 2]], np.array([[1]]))
