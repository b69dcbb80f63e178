import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from seqgan_music.metrics import METRICS, TABLES
from seqgan_music.metrics.bleu import References, bleu, self_bleu
from seqgan_music.metrics.sequences import NgramIndex, Sequences, as_sequences
from seqgan_music.metrics.yang_lerch import FEATURES

SMOOTHING = SmoothingFunction().method1


def nltk_bleu(hypothesis, references, max_n):
    weights = [(1 / n,) * n for n in range(1, max_n + 1)]
    return [sentence_bleu(references, hypothesis, w, SMOOTHING) for w in weights]


def random_walks(rng, count, length):
    return (60 + np.cumsum(rng.integers(-3, 4, (count, length)), axis=1)).clip(36, 96)


token_rows = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=6)


@settings(deadline=None, max_examples=200)
@given(hypotheses=token_rows, references=token_rows, max_n=st.integers(1, 6))
def test_bleu_is_nltks(hypotheses, references, max_n):
    expected = [nltk_bleu(hypothesis, references, max_n) for hypothesis in hypotheses]
    np.testing.assert_allclose(bleu(hypotheses, references, max_n), expected, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=200)
@given(samples=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=2, max_size=6))
def test_self_bleu_is_nltks_against_the_others(samples):
    expected = [nltk_bleu(sample, samples[:i] + samples[i + 1 :], 5) for i, sample in enumerate(samples)]
    np.testing.assert_allclose(self_bleu(samples, 5), expected, rtol=0, atol=1e-12)


def test_bleu_is_nltks_on_melodies_of_many_lengths():
    rng = np.random.default_rng(3)
    tokens = random_walks(rng, 60, 40)
    rows = Sequences(tokens, rng.integers(1, 41, 60)).to_lists()
    hypotheses, references = rows[:30], rows[30:]
    expected = [nltk_bleu(hypothesis, references, 5) for hypothesis in hypotheses]
    np.testing.assert_allclose(bleu(hypotheses, references), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("hypothesis", "references"),
    [
        ([1, 2], [[1, 2, 3, 4]]),  # shorter than n
        ([1], [[1]]),
        ([9, 9], [[1, 2, 3]]),  # not a token in common
        ([1, 1, 1, 1], [[1, 1, 2], [1, 2, 1, 3]]),  # clipped
        ([1, 2, 3], [[1, 2, 3, 4], [1, 2]]),  # two reference lengths equally close
        ([1, 2, 3], [[1, 2], [1, 2, 3, 4]]),
        ([1, 2, 3], [[], [1, 2, 3, 4, 5, 6, 7]]),  # an empty reference is the closest
        ([1, 2, 3, 4, 5, 6], [[1, 2, 3]]),  # longer than every reference
        ([-5, 10**12, -5], [[10**12, -5, 7]]),  # any integers
    ],
)
def test_edge_cases_are_nltks(hypothesis, references):
    expected = nltk_bleu(hypothesis, references, 5)
    np.testing.assert_allclose(bleu([hypothesis], references)[0], expected, rtol=0, atol=1e-12)


def test_golden_numbers():
    # The example of Papineni et al., section 2.1: "the" seven times, of which two may match.
    the = 1
    assert bleu([[the] * 7], [[the, 2, 3, 4, the, 5], [6, 3, 7, 2, 4, the, 5]], 1).item() == pytest.approx(2 / 7)
    # Unigrams 3 of 4, bigrams 1 of 3, trigrams 0 of 2 → 0.1 / 2; lengths equal.
    scores = bleu([[1, 2, 9, 3]], [[1, 2, 3, 4]], 3)[0]
    np.testing.assert_allclose(scores, [3 / 4, (3 / 4 / 3) ** (1 / 2), (3 / 4 / 3 * 0.05) ** (1 / 3)], rtol=1e-14)


def test_a_perfect_match_scores_exactly_one():
    melodies = random_walks(np.random.default_rng(0), 50, 32)
    np.testing.assert_array_equal(bleu(melodies, melodies), np.ones((50, 5)))
    np.testing.assert_array_equal(self_bleu(np.concatenate([melodies, melodies])), np.ones((100, 5)))


def test_no_token_in_common_scores_exactly_zero():
    np.testing.assert_array_equal(bleu([[1, 2, 3]], [[4, 5, 6]]), np.zeros((1, 5)))


def test_hypotheses_and_references_cannot_be_swapped_unnoticed():
    long, short = [[1, 2, 3, 4, 5, 6, 7, 8]], [[1, 2, 3, 4]]
    forwards, backwards = bleu(short, long, 2)[0, 1], bleu(long, short, 2)[0, 1]
    assert forwards == pytest.approx(np.exp(1 - 8 / 4))  # all phrases are right, half the length is missing
    assert backwards == pytest.approx((4 / 8 * 3 / 7) ** 0.5)  # long enough, half the phrases are wrong
    assert bleu(np.ones((3, 4), int), np.ones((2, 4), int)).shape == (3, 5)


def test_a_sample_is_not_its_own_reference():
    samples = [[1, 2, 3, 4], [5, 6, 7, 8], [1, 2, 9, 9]]
    assert np.all(bleu(samples, samples, 2) == 1)
    scores = self_bleu(samples, 2)
    assert scores[1].tolist() == [0, 0]
    np.testing.assert_allclose(scores[0], [2 / 4, (2 / 4 * 1 / 3) ** 0.5])


def test_self_bleu_leaves_the_own_length_out_of_the_brevity_penalty():
    # Lengths 3, 5, 5: the first sample's closest other length is 5.
    scores = self_bleu([[1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]], 2)
    np.testing.assert_allclose(scores[0], np.exp(1 - 5 / 3))
    np.testing.assert_array_equal(scores[1:], 1)


def test_nothing_to_judge_is_nan_and_nothing_to_judge_by_is_refused():
    scores = bleu([[], [1]], [[1]], 2)
    assert np.isnan(scores[0]).all()
    assert scores[1, 0] == 1
    assert np.isnan(self_bleu([[1, 2, 3]])).all()
    assert np.isnan(self_bleu([[], [1], [1]])).tolist() == [[True] * 5, [False] * 5, [False] * 5]
    assert bleu([], [[1]]).shape == (0, 5)
    assert self_bleu([]).shape == (0, 5)
    assert np.all(bleu([[1]], [[]]) == 0)
    with pytest.raises(ValueError, match="at least one reference"):
        bleu([[1]], [])


def test_malformed_input_is_refused():
    with pytest.raises(ValueError, match="max_n"):
        bleu([[1]], [[1]], 0)
    with pytest.raises(ValueError, match="max_n = 3"):
        bleu([[1]], References([[1]], 3), 4)
    with pytest.raises(ValueError, match="integers"):
        bleu([[1.5]], [[1]])
    with pytest.raises(ValueError, match="integers"):
        bleu(np.ones((2, 2)), [[1]])
    with pytest.raises(ValueError, match=r"\(B, T\)"):
        as_sequences(np.ones(3, dtype=int))
    with pytest.raises(ValueError, match="lengths"):
        Sequences(np.ones((2, 3), dtype=int), np.array([3, 4]))
    with pytest.raises(ValueError, match="expected tokens"):
        Sequences(np.ones((2, 3), dtype=int), np.array([3]))


def test_references_are_counted_once_for_many_calls():
    rng = np.random.default_rng(1)
    references = References(random_walks(rng, 20, 16), max_n=4)
    samples = random_walks(rng, 10, 16)
    scores = references.bleu(samples)
    np.testing.assert_array_equal(references.bleu(samples[4:6]), scores[4:6])
    np.testing.assert_array_equal(bleu(samples, references, 4), scores)
    assert len(references) == 20


def test_what_lies_beyond_a_length_is_never_read():
    lengths = np.array([2, 3])
    one = Sequences(np.array([[1, 2, 3, 3], [1, 2, 3, 3]]), lengths)
    other = Sequences(np.array([[1, 2, 7, 1], [1, 2, 3, 9]]), lengths)
    np.testing.assert_array_equal(bleu(one, one), bleu(other, other))
    np.testing.assert_array_equal(self_bleu(one), self_bleu(other))
    np.testing.assert_array_equal(bleu(one, [[1, 2, 3, 3]]), bleu(other.to_lists(), [[1, 2, 3, 3]]))


def test_sequences_are_put_below_one_another():
    both = Sequences.concatenate([as_sequences([[1], [2, 3]]), as_sequences([[], [4, 5, 6]])])
    assert both.to_lists() == [[1], [2, 3], [], [4, 5, 6]]
    assert both.tokens.shape == (4, 3)


def test_ngrams_get_the_same_number_only_if_they_are_the_same():
    rows = Sequences.from_lists([[3, 1, 3, 1, 2], [1, 3, 1], [2]])
    for n, codes in enumerate(NgramIndex(rows, 3).codes(rows), start=1):
        seen = {}
        for row, line in zip(rows.to_lists(), codes.tolist(), strict=True):
            for start, code in enumerate(line):
                if start + n > len(row):
                    assert code == -1
                else:
                    assert seen.setdefault(code, row[start : start + n]) == row[start : start + n]
        grams = [seen[code] for code in range(len(seen))]
        assert grams == sorted(grams)
        assert len({tuple(gram) for gram in grams}) == len(grams)


def test_every_metric_says_what_it_means_and_where_its_target_lies():
    expected = {f"{kind}_{n}" for kind in ("bleu", "self_bleu") for n in range(2, 6)}
    expected |= {"mse_nearest", "mse_pairs", "unique", "distinct_2", "edit_distance", "nll", "reverse_nll", "frechet"}
    expected |= {"copied_4", "copied_8", "longest_copy", "longest_copy_max", "polyphony", "bars_back"}
    expected |= {"pitch_class_entropy", "scale_consistency", "groove_consistency", "empty_beat_rate"}
    single = {f"{kind}_{name}" for kind in ("overlap_area", "kl_divergence") for name in FEATURES}
    assert set(METRICS) == expected | single | {"overlap_area", "kl_divergence"}
    shown = [name for names in TABLES.values() for name in names]
    assert len(shown) == len(set(shown))
    assert set(shown) == set(METRICS) - single, "each in one table, the single features in none"
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)
    assert all("\n" not in metric.meaning for metric in METRICS.values())
    assert all(metric.title and metric.meaning for metric in METRICS.values())
    assert {metric.target for metric in METRICS.values()} == {"equal to real", "lower"}
