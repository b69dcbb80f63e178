import math

import numpy as np
import pytest
import scipy.linalg

from seqgan_music.metrics.frechet import frechet_distance


def by_square_root(first, second):
    """The formula as it is mostly printed, with the root of a product that is not symmetric."""
    c1, c2 = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = np.real(scipy.linalg.sqrtm(c1 @ c2))
    return ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * root)


@pytest.mark.parametrize("dimensions", [2, 5, 12])
def test_it_is_the_printed_formula(dimensions):
    rng = np.random.default_rng(dimensions)
    first = rng.normal(size=(80, dimensions)) @ rng.normal(size=(dimensions, dimensions))
    second = rng.normal(size=(60, dimensions)) @ rng.normal(size=(dimensions, dimensions)) + 0.5
    assert frechet_distance(first, second) == pytest.approx(by_square_root(first, second), rel=1e-8)
    assert frechet_distance(second, first) == pytest.approx(frechet_distance(first, second), rel=1e-8)


def test_one_dimension_by_hand():
    # Means 1 and 5; variances 2 and 8 (over M - 1): 16 + 2 + 8 - 2 √16.
    assert frechet_distance([[0], [2]], [[3], [7]]) == pytest.approx(18)


def test_independent_columns_add_up():
    first, second = np.array([[0.0, 0], [2, 0], [0, 2], [2, 2]]), np.array([[3.0, 1], [7, 1], [3, 3], [7, 3]])
    apart = sum(frechet_distance(first[:, [i]], second[:, [i]]) for i in range(2))
    assert frechet_distance(first, second) == pytest.approx(apart)


def test_singular_covariances_are_no_trouble():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(5, 40))  # fewer vectors than columns
    first[:, 3] = 7  # and one that is constant
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(first, first + 2) == pytest.approx(4 * 40, rel=1e-6)
    assert frechet_distance(np.ones((3, 2)), np.zeros((4, 2))) == pytest.approx(2)


def test_the_floor_falls_with_the_number():
    rng = np.random.default_rng(0)
    floor = [frechet_distance(rng.normal(size=(n, 8)), rng.normal(size=(n, 8))) for n in (20, 200, 2000)]
    assert floor[0] > 3 * floor[1] > 9 * floor[2] > 0


def test_vectors_that_are_not_defined_are_left_out():
    first, second = [[0.0, 1], [2, 3], [math.nan, 5]], [[3.0, 1], [7, 2]]
    assert frechet_distance(first, second) == frechet_distance(first[:2], second)
    assert math.isnan(frechet_distance(first[1:], second))


def test_malformed_input_is_refused():
    for first, second in ([[[1, 2]], [[1]]], [[1, 2], [1, 2]], [np.zeros((3, 0)), np.zeros((3, 0))]):
        with pytest.raises(ValueError, match="vectors"):
            frechet_distance(first, second)
    with pytest.raises(ValueError, match="finite"):
        frechet_distance([[math.inf], [1]], [[1], [2]])
