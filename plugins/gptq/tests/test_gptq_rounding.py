"""Rounding by Hessians against closed forms and exhaustive search: pure arrays."""

from itertools import product

import numpy as np
import pytest
from fewbits.factors import damped, inverse_factor
from fewbits_gptq import rounding
from hypothesis import given, settings
from hypothesis import strategies as st

QMAX = 7


def problem(seed: int, rows: int = 6, size: int = 12, groups: int = 2):
    """Return weights, scales, correlated Hessians and a full mask."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(groups, rows, size))
    mixing = rng.normal(size=(groups, size, size)) + 2.0 * rng.normal(size=(groups, size, 1))
    hessian = damped(mixing @ mixing.swapaxes(1, 2), 0.01)
    scale = np.abs(weight).max(axis=2) / QMAX
    return weight, scale, hessian, np.ones(weight.shape, np.bool_)


def error(integers, weight, scale, hessian):
    return rounding.output_error(weight - integers * scale[..., None], hessian)


def one_by_one(weight, scale, hessian):
    """Round a column, fit those behind it by least squares, and so on: the definition."""
    left, integers = weight.copy(), np.zeros_like(weight)
    for column in range(len(weight)):
        q = np.clip(np.rint(left[column] / scale), -QMAX, QMAX)
        moved, rest = left[column] - q * scale, slice(column + 1, None)
        integers[column], left[column] = q, q * scale
        if column + 1 < len(weight):
            left[rest] += moved * np.linalg.solve(hessian[rest, rest], hessian[rest, column])
    return integers


@pytest.mark.parametrize("seed", range(3))
def test_each_error_is_taken_up_by_the_columns_behind_as_least_squares_would(seed):
    weight, scale, hessian, keep = problem(seed)
    found = rounding.round_in_order(weight, scale, QMAX, inverse_factor(hessian), keep)
    for group, row in product(range(2), range(6)):
        expected = one_by_one(weight[group, row], scale[group, row], hessian[group])
        np.testing.assert_array_equal(found[group, row], expected)


def test_blocks_do_not_matter(monkeypatch):
    weight, scale, hessian, keep = problem(0, size=20)
    factor = inverse_factor(hessian)
    whole = rounding.round_in_order(weight, scale, QMAX, factor, keep)
    descended = rounding.descend(whole, weight, scale, QMAX, hessian, keep, passes=2)
    monkeypatch.setattr(rounding, "BLOCK", 7)
    parts = rounding.round_in_order(weight, scale, QMAX, factor, keep)
    np.testing.assert_array_equal(parts, whole)
    again = rounding.descend(parts, weight, scale, QMAX, hessian, keep, passes=2)
    np.testing.assert_array_equal(again, descended)


def test_uncorrelated_inputs_are_rounded_to_nearest():
    weight, scale, _, keep = problem(0)
    hessian = np.eye(12)[None].repeat(2, axis=0) * np.arange(1.0, 13.0)
    found = rounding.round_in_order(weight, scale, QMAX, inverse_factor(hessian), keep)
    np.testing.assert_array_equal(found, rounding.nearest(weight, scale, QMAX))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_descent_never_makes_a_row_worse_and_in_order_beats_nearest(seed):
    weight, scale, hessian, keep = problem(seed)
    start = rounding.round_in_order(weight, scale, QMAX, inverse_factor(hessian), keep)
    end = rounding.descend(start, weight, scale, QMAX, hessian, keep, passes=3)
    before, after = (error(q, weight, scale, hessian) for q in (start, end))
    assert (after <= before * (1 + 1e-9)).all()
    plain = rounding.nearest(weight, scale, QMAX)
    assert after.sum() <= error(plain, weight, scale, hessian).sum()
    assert np.abs(end).max() <= QMAX


def test_descent_ends_where_no_single_integer_can_be_better():
    weight, scale, hessian, keep = problem(1, rows=2, size=5, groups=1)
    start = rounding.nearest(weight, scale, QMAX)
    end = rounding.descend(start, weight, scale, QMAX, hessian, keep, passes=50)
    least = error(end, weight, scale, hessian)
    for row, column, q in product(range(2), range(5), range(-QMAX, QMAX + 1)):
        other = end.copy()
        other[0, row, column] = q
        assert error(other, weight, scale, hessian)[0, row] >= least[0, row] - 1e-9


def test_masked_weights_stay_zero():
    weight, scale, hessian, keep = problem(2)
    keep = np.random.default_rng(0).random(keep.shape) < 0.5
    aim = np.where(keep, weight, 0.0)
    found = rounding.round_in_order(aim, scale, QMAX, inverse_factor(hessian), keep)
    found = rounding.descend(found, aim, scale, QMAX, hessian, keep, passes=2)
    assert not found[~keep].any()
    assert found[keep].any()


def test_the_fitted_scale_is_the_least_squares_one():
    weight, scale, hessian, _ = problem(3)
    integers = rounding.nearest(weight, scale, QMAX)
    best = rounding.best_scale(integers, weight, hessian, scale)
    least = error(integers, weight, best, hessian)
    for factor in (0.99, 0.999, 1.001, 1.01):
        assert (error(integers, weight, best * factor, hessian) >= least).all()
    np.testing.assert_array_equal(
        rounding.best_scale(np.zeros_like(integers), weight, hessian, scale), scale
    )


def test_scales_weigh_errors_by_importance():
    weight = np.array([[[0.31, 7.0]]])
    first = rounding.search_scales(weight, np.array([[1.0, 0.0]]), QMAX)
    second = rounding.search_scales(weight, np.array([[0.0, 1.0]]), QMAX)
    assert second == pytest.approx(1.0)
    assert abs(np.rint(0.31 / first) * first - 0.31) < 0.31


def test_a_row_of_zeros_is_zero():
    assert rounding.nearest(np.zeros((1, 1, 3)), np.zeros((1, 1)), QMAX).sum() == 0.0
