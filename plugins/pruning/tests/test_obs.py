"""The mathematics of pruning against closed forms and exhaustive search."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from fewbits.factors import damped, inverse_factor
from fewbits_pruning import obs
from fewbits_pruning.selection import Pattern, by_pattern, choices, smallest


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def hessian_of(rng, size, samples=200):
    x = rng.normal(size=(samples, size)) @ rng.normal(size=(size, size))
    return damped(2 * x.T @ x, 0.01)


def cost(weight, new, hessian):
    return np.einsum("rc,cd,rd->r", weight - new, hessian, weight - new) / 2


def test_factor_is_upper_and_gives_the_inverse(rng):
    hessian = hessian_of(rng, 12)
    factor = inverse_factor(hessian)
    np.testing.assert_array_equal(factor, np.triu(factor))
    np.testing.assert_allclose(factor.T @ factor, np.linalg.inv(hessian), rtol=1e-8)


def test_factor_knows_the_inverse_with_earlier_columns_fixed(rng):
    """Rows of `U` are what SparseGPT needs: `U_jj² = [(H[j:, j:])⁻¹]_00`."""
    hessian = hessian_of(rng, 9)
    factor = inverse_factor(hessian)
    for j in range(9):
        inverse = np.linalg.inv(hessian[j:, j:])
        assert factor[j, j] ** 2 == pytest.approx(inverse[0, 0])
        np.testing.assert_allclose(factor[j, j:] / factor[j, j], inverse[0] / inverse[0, 0])


def test_damping_of_nothing_is_the_identity():
    np.testing.assert_array_equal(damped(np.zeros((3, 3)), 0.01), np.eye(3))


def test_saliency_is_the_cost_of_pruning_one_weight_optimally(rng):
    weight, hessian = rng.normal(size=(1, 6)), hessian_of(rng, 6)
    found = obs.saliency(weight, inverse_factor(hessian))
    for j in range(6):
        keep = np.ones((1, 6), bool)
        keep[0, j] = False
        best = solved(weight, keep, hessian)
        assert found[0, j] / 2 == pytest.approx(cost(weight, best, hessian)[0])


def solved(weight, keep, hessian):
    """Return the least squares solution with the given zeros, by a dense solver, row by row."""
    new = np.zeros_like(weight)
    for row, (w, k) in enumerate(zip(weight, keep, strict=True)):
        new[row, k] = np.linalg.solve(hessian[np.ix_(k, k)], hessian[k] @ w)
    return new


def test_pruning_the_first_column_is_optimal_brain_surgeon(rng):
    """`δw = −w_0 / [H⁻¹]_00 · H⁻¹[0, :]`."""
    weight, hessian = rng.normal(size=(5, 7)), hessian_of(rng, 7)

    def first_goes(part, factor, allowed, start):
        keep = np.ones(part.shape, bool)
        keep[:, 0] = start != 0
        return keep

    new, keep = obs.prune(
        weight, inverse_factor(hessian), np.ones((5, 7), bool), first_goes, width=7
    )
    inverse = np.linalg.inv(hessian)
    wanted = weight - weight[:, :1] / inverse[0, 0] * inverse[0]
    np.testing.assert_allclose(new[:, 1:], wanted[:, 1:])
    assert not new[:, 0].any()
    assert keep.sum() == 30


@pytest.mark.parametrize("width", [1, 4, 128])
def test_blocks_do_not_matter(rng, width, monkeypatch):
    weight, hessian = rng.normal(size=(6, 40)), hessian_of(rng, 40)
    fixed = rng.random((6, 40)) < 0.5
    factor = inverse_factor(hessian)

    def chosen(part, factor, allowed, start):
        return fixed[:, start : start + part.shape[1]]

    everything = np.ones_like(fixed)
    whole, _ = obs.prune(weight, factor, everything, chosen, width=40)
    monkeypatch.setattr(obs, "BLOCK", 8)
    parts, keep = obs.prune(weight, factor, everything, chosen, width=width)
    np.testing.assert_allclose(parts, whole)
    np.testing.assert_array_equal(keep, fixed)


def test_a_run_is_pruned_in_the_cheapest_of_all_ways(rng):
    weight, hessian = rng.normal(size=(20, 4)), hessian_of(rng, 4)
    factor = inverse_factor(hessian)
    choose = obs.choose_pattern(Pattern(2, 4))
    new, keep = obs.prune(weight, factor, np.ones((20, 4), bool), choose, width=4)
    assert (keep.sum(axis=1) == 2).all()
    for way in combinations(range(4), 2):
        mask = np.zeros((20, 4), bool)
        mask[:, way] = True
        other, _ = obs.prune(weight, factor, np.ones((20, 4), bool), lambda *_, m=mask: m, width=4)
        assert (cost(weight, new, hessian) <= cost(weight, other, hessian) + 1e-9).all()


def test_too_many_ways_fall_back_on_single_costs(rng):
    pattern = Pattern(8, 16)
    assert choices(pattern) is None
    weight, hessian = rng.normal(size=(3, 32)), hessian_of(rng, 32)
    choose = obs.choose_pattern(pattern)
    _, keep = obs.prune(weight, inverse_factor(hessian), np.ones((3, 32), bool), choose, width=16)
    assert (keep.reshape(3, 2, 16).sum(axis=2) == 8).all()


def test_earlier_masks_are_kept(rng):
    weight, hessian = rng.normal(size=(4, 16)), hessian_of(rng, 16)
    allowed = rng.random((4, 16)) < 0.7
    new, keep = obs.prune(
        weight, inverse_factor(hessian), allowed, obs.choose_pattern(Pattern(3, 4)), width=4
    )
    assert not (keep & ~allowed).any()
    assert not new[~keep].any()


def test_refit_is_the_least_squares_solution(rng):
    weight, hessian = rng.normal(size=(8, 30)), hessian_of(rng, 30)
    keep = rng.random((8, 30)) < 0.5
    start = np.where(keep, weight, 0.0)
    new = obs.refit(start, weight, keep, hessian, steps=500)
    np.testing.assert_allclose(new, solved(weight, keep, hessian), rtol=1e-3, atol=1e-4)
    assert not new[~keep].any()


def test_refit_never_costs_more(rng):
    weight, hessian = rng.normal(size=(8, 30)), hessian_of(rng, 30)
    keep = rng.random((8, 30)) < 0.5
    start = np.where(keep, weight, 0.0)
    costs = [
        cost(weight, obs.refit(start, weight, keep, hessian, steps=n), hessian) for n in range(12)
    ]
    assert all((b <= a * (1 + 1e-12)).all() for a, b in pairwise(costs))


def test_refit_leaves_a_dense_weight_alone(rng):
    weight, hessian = rng.normal(size=(2, 5)), hessian_of(rng, 5)
    everything = np.ones((2, 5), bool)
    np.testing.assert_array_equal(obs.refit(weight, weight, everything, hessian), weight)


def test_the_smallest_go_and_ties_go_by_position():
    assert smallest(np.array([[1.0, 1.0], [0.5, 1.0]]), 2).tolist() == [
        [False, True],
        [False, True],
    ]
    assert by_pattern(np.array([3.0, 1, 2, 0]), Pattern(2, 4)).tolist() == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("text", ["4:2", "2:2", "0:4", "2", "a:b", "-1:4", ":"])
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(ValueError, match="N:M"):
        Pattern.parse(text)
