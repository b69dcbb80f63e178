import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from seqgan_music.comparison.statistics import holm, paired, welch

A, B = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])


def test_welch_by_hand():
    found = welch(A, B)
    assert found.difference == -2
    assert found.t == pytest.approx(-2 / math.sqrt(1 / 3 + 4 / 3))
    df = (1 / 3 + 4 / 3) ** 2 / ((1 / 3) ** 2 / 2 + (4 / 3) ** 2 / 2)
    assert found.df == pytest.approx(df)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.t), df))
    half = stats.t.ppf(0.975, df) * math.sqrt(5 / 3)
    assert (found.low, found.high) == (pytest.approx(-2 - half), pytest.approx(-2 + half))


def test_paired_by_hand():
    found = paired(A, B)
    assert (found.difference, found.df, found.n) == (-2, 2, (3, 3))
    assert found.t == pytest.approx(-2 * math.sqrt(3))
    assert found.p == pytest.approx(0.07418, abs=1e-5)
    half = stats.t.ppf(0.975, 2) / math.sqrt(3)
    assert (found.low, found.high) == (pytest.approx(-2 - half), pytest.approx(-2 + half))


def test_welch_is_not_student_where_the_spreads_differ():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 5), rng.normal(4, 9, 20)
    assert welch(a, b).p == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
    assert welch(a, b).p != pytest.approx(stats.ttest_ind(a, b).pvalue, rel=0.01)


@pytest.mark.parametrize("test", [welch, paired])
def test_what_is_not_defined_is_nan_without_a_warning(test):
    one, constant = np.array([1.0]), np.array([2.0, 2.0, 2.0])
    nothing = np.array([math.nan, math.nan])
    for a, b, difference in [(one, one, 0.0), (constant, constant + 1, -1.0), (constant, constant, 0.0)]:
        found = test(a, b)
        assert found.difference == difference
        assert math.isnan(found.p)
        assert math.isnan(found.t)
    assert math.isnan(test(nothing, nothing).difference)
    assert test(nothing, nothing).n == (0, 0)


def test_a_set_without_spread_is_tested_against_one_with_some():
    found = welch(A, np.full(3, 5.0))
    assert found.p == pytest.approx(stats.ttest_1samp(A, 5.0).pvalue)
    assert paired(A, np.full(3, 5.0)).p == pytest.approx(stats.ttest_1samp(A, 5.0).pvalue)


def test_rounding_is_no_spread():
    nearly = 0.1 + np.array([0.0, 1e-17, -2e-17]) * 10
    assert math.isnan(welch(nearly, nearly + 1).p)
    assert math.isnan(paired(A + 0.1, A).p)


def test_nan_is_left_out_in_pairs_where_they_are_pairs():
    a, b = np.append(A, math.nan), np.append(B, 9.0)
    assert welch(a, B) == welch(A, B)
    assert welch(a, b).n == (3, 4)
    assert paired(a, b) == paired(A, B)
    with pytest.raises(ValueError, match="equally many"):
        paired(A, b)


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([], []),
        ([0.2], [0.2]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 4 · 0.005, 3 · 0.01, 2 · 0.03, and no less than that
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.01, math.nan, 0.02], [0.02, math.nan, 0.02]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
    ],
)
def test_holm_by_hand(p, adjusted):
    np.testing.assert_allclose(holm(p), adjusted, atol=1e-15)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_holm_rejects_what_its_step_down_procedure_rejects(p, level):
    rejected = set()
    for k, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[i] * (len(p) - k) > level:
            break
        rejected.add(i)
    assert {i for i, value in enumerate(holm(p)) if value <= level} == rejected
