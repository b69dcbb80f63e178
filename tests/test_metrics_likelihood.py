import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_music.metrics.likelihood import WittenBell

ALPHABET = 6
rows = st.lists(st.lists(st.integers(0, 4), max_size=7), max_size=6)


def probability(event, context, sequences, order):
    """Witten-Bell's interpolation read from its formula, counting anew for every context."""
    context = tuple(context[len(context) - order :]) if order else ()
    lower = Fraction(1, ALPHABET) if order == 0 else probability(event, context[1:], sequences, order - 1)
    following = []
    for sequence in sequences:
        padded = ["start"] * 9 + list(sequence)
        following += [padded[i] for i in range(9, len(padded)) if tuple(padded[i - order : i]) == context]
    if not following:
        return lower
    kinds = len(set(following))
    return (following.count(event) + kinds * lower) / Fraction(len(following) + kinds)


@settings(deadline=None, max_examples=150)
@given(samples=rows, held_out=rows, order=st.integers(0, 3))
def test_probabilities_are_those_of_the_formula(samples, held_out, order):
    found = WittenBell(order, ALPHABET).fit(samples).log_probabilities(held_out)
    for row, sequence in enumerate(held_out):
        for i, event in enumerate(sequence):
            context = (["start"] * 9 + sequence)[: 9 + i]
            expected = probability(event, context, samples, order)
            assert expected > 0
            assert math.exp(found[row, i]) == pytest.approx(float(expected), rel=1e-12)
        assert np.isnan(found[row, len(sequence) :]).all()


@pytest.mark.parametrize("context", [[], [0], [0, 1], [1, 0], [3, 3], [5, 0]])
def test_probabilities_of_all_events_sum_to_one(context):
    model = WittenBell(2, ALPHABET).fit([[0, 1, 0, 2], [0, 1, 4], [2, 2]])
    found = [model.log_probabilities([[*context, event]])[0, -1] for event in range(ALPHABET)]
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-12)


def test_a_case_worked_out_by_hand():
    model = WittenBell(1, 4).fit([[7, 8, 7, 9]])
    # Without context: 7 twice, 8 and 9 once, three kinds: (2 + 3/4) / 7, (1 + 3/4) / 7, and 3/4 / 7 for a fourth.
    none = {7: 2.75 / 7, 8: 1.75 / 7, 9: 1.75 / 7, 5: 0.75 / 7}
    # At the start 7, once; after 7 came 8 and 9; after 9 nothing was seen.
    expected = [(1 + none[7]) / 2, (1 + 2 * none[9]) / 4, none[5]]
    np.testing.assert_allclose(np.exp(model.log_probabilities([[7, 9, 5]]))[0], expected, rtol=1e-12)
    assert model.nats([[7, 9, 5]]) == pytest.approx(-np.mean(np.log(expected)))


def test_what_was_learned_is_more_probable_than_what_was_not():
    rng = np.random.default_rng(0)
    scale = (60 + np.cumsum(rng.choice([-1, 1], (200, 20)), axis=1)).tolist()
    leaps = rng.integers(40, 80, (200, 20)).tolist()
    model = WittenBell(2, 200).fit(scale[:100])
    assert model.nats(scale[100:]) < WittenBell(2, 200).fit(leaps).nats(scale[100:]) < math.log(200) + 1
    assert model.nats(scale[100:]) < 1.2, "little more than the log 2 that each step has"


def test_fitted_to_nothing_all_events_are_equally_probable():
    for nothing in ([], [[]]):
        assert WittenBell(2, 8).fit(nothing).nats([[1, 2, 3]]) == pytest.approx(math.log(8))
    assert math.isnan(WittenBell(2, 8).fit([[1]]).nats([]))


def test_malformed_input_is_refused():
    with pytest.raises(ValueError, match="order"):
        WittenBell(-1, 4)
    with pytest.raises(ValueError, match="alphabet"):
        WittenBell(1, 0)
    with pytest.raises(ValueError, match="alphabet of 2"):
        WittenBell(1, 2).fit([[1, 2, 3]])
    with pytest.raises(ValueError, match="fitted"):
        WittenBell(1, 2).nats([[1]])
