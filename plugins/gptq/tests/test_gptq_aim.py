"""What is aimed at: least squares, drawn to the float weight as far as other samples ask."""

import numpy as np
import pytest
from fewbits_gptq.aim import FALLBACK, RIDGES, aimed, ridge_solution, validated
from fewbits_gptq.sums import Sums

SIZE, ROWS = 6, 3


def summed(x, t, d=None) -> Sums:
    """Return the sums of one group's columns, `(columns, count)` each."""
    extra = (None, None) if d is None else ((d @ x.T)[None], d.sum(axis=1)[None])
    firsts = x.sum(axis=1)[None], t.sum(axis=1)[None]
    count = x.shape[1]
    return Sums((x @ x.T)[None], (t @ x.T)[None], *firsts, count, count, *extra)


@pytest.fixture
def weight(rng):
    return rng.normal(size=(1, ROWS, SIZE))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_aim_is_the_least_squares_weight(rng, weight):
    """`t = M·x + c` in full precision is met exactly by `W·M`, with next to no ridge."""
    x, mixing = rng.normal(size=(SIZE, 500)), rng.normal(size=(SIZE, SIZE))
    sums = summed(x, mixing @ x + rng.normal(size=(SIZE, 1)))
    np.testing.assert_allclose(aimed(weight, sums, 1e-12)[0], weight[0] @ mixing, atol=1e-8)
    np.testing.assert_allclose(aimed(weight, sums, 1e9), weight, atol=1e-6)


def test_what_is_lacking_is_made_up_for(rng, weight):
    """`d = D·x + c` is met exactly by `W + D`."""
    x, lacking = rng.normal(size=(SIZE, 500)), rng.normal(size=(ROWS, SIZE))
    sums = summed(x, x, lacking @ x + rng.normal(size=(ROWS, 1)))
    found = aimed(weight, sums, 1e-12, 1e-12)
    np.testing.assert_allclose(found[0], weight[0] + lacking, atol=1e-8)
    np.testing.assert_allclose(aimed(weight, sums, 1e-12, None), weight, atol=1e-8)


def test_the_ridge_solution_is_a_minimum(rng, weight):
    x = rng.normal(size=(SIZE, 40))
    covariance, right = (x @ x.T)[None] / 40, rng.normal(size=(1, ROWS, SIZE))
    pull = 0.7 * np.trace(covariance[0]) / SIZE

    def cost(w):
        fit = np.sum((w @ covariance) * w) - 2.0 * np.sum(w * right)
        return fit + pull * np.sum((w - weight) ** 2)

    found = ridge_solution(covariance, right, weight, 0.7)
    for _ in range(20):
        assert cost(found) < cost(found + 1e-3 * rng.normal(size=found.shape))


def test_many_samples_ask_for_no_ridge_and_few_for_much(rng, weight):
    def halves(count):
        parts = []
        for _ in range(2):
            x = rng.normal(size=(SIZE, count))
            parts.append(summed(x, 0.8 * x + 0.8 * rng.normal(size=x.shape)))
        return parts

    assert validated(weight, halves(20_000))[0] == min(RIDGES)
    assert validated(weight, halves(SIZE + 2))[0] >= 0.3


def test_the_ridge_is_the_one_with_the_least_error_on_the_other_half(rng, weight):
    """Against the errors of the outputs themselves, column by column."""
    data = []
    for _ in range(2):
        x = rng.normal(size=(SIZE, 30))
        x -= x.mean(axis=1, keepdims=True)
        t = x + rng.normal(size=x.shape)
        data.append((x, t - t.mean(axis=1, keepdims=True)))

    def error(ridge):
        total = 0.0
        for (x, t), (other_x, other_t) in (data, data[::-1]):
            found = aimed(weight, summed(x, t), ridge)[0]
            total += np.mean((weight[0] @ other_t - found @ other_x) ** 2)
        return total

    chosen, _ = validated(weight, [summed(*each) for each in data])
    assert chosen == min(RIDGES, key=error)


def test_what_does_not_carry_over_is_left_out(rng, weight):
    def halves(lacking):
        parts = []
        for sign in (1.0, -1.0):
            x = rng.normal(size=(SIZE, 200))
            parts.append(summed(x, x, sign**lacking * np.ones((ROWS, SIZE)) @ x))
        return parts

    assert validated(weight, halves(1))[1] is None
    assert validated(weight, halves(2))[1] == min(RIDGES)


def test_one_sample_cannot_be_halved(rng, weight):
    x = rng.normal(size=(SIZE, 5))
    assert validated(weight, [summed(x, x)]) == (FALLBACK, None)
