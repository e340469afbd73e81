"""Damping and the factor of the inverse Hessian, one matrix or many."""

import numpy as np
from fewbits.factors import damped, inverse_factor


def hessians(groups: int = 3, size: int = 6) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(groups, size, 20))
    return x @ x.swapaxes(1, 2)


def test_the_factor_is_upper_triangular_and_gives_the_inverse():
    for hessian, factor in zip(hessians(), inverse_factor(hessians()), strict=True):
        np.testing.assert_array_equal(factor, np.triu(factor))
        np.testing.assert_allclose(factor.T @ factor, np.linalg.inv(hessian), rtol=1e-9)
        np.testing.assert_array_equal(factor, inverse_factor(hessian))


def test_its_rows_belong_to_the_columns_from_there_on():
    hessian = hessians()[0]
    factor = inverse_factor(hessian)
    rest = np.linalg.inv(hessian[2:, 2:])
    np.testing.assert_allclose(factor[2, 2] ** 2, rest[0, 0])
    np.testing.assert_allclose(factor[2, 2:] / factor[2, 2], rest[0] / rest[0, 0])


def test_damping_is_a_share_of_the_mean_diagonal_of_each():
    given = hessians()
    shares = np.array([0.0, 0.01, 1.0])
    for before, after, share in zip(given, damped(given, shares), shares, strict=True):
        added = share * np.trace(before) / len(before)
        np.testing.assert_allclose(after - before, added * np.eye(len(before)), atol=1e-12)
    np.testing.assert_array_equal(damped(np.zeros((3, 3)), 0.01), np.eye(3))
