"""How means answer to biases, against closed forms: pure arrays."""

import numpy as np
import pytest
from fewbits_ibc.shift import LEAST_SHARE, Response, linear_shift, rms
from hypothesis import given, settings
from hypothesis import strategies as st

RELU = (np.float32(0.0), np.float32(np.inf))
OPEN = (np.float32(-np.inf), np.float32(np.inf))


def evenly(channels: int = 3, count: int = 10_000) -> np.ndarray:
    """Return values spread evenly over −1 … 1, the same in each channel."""
    line = np.linspace(-1.0, 1.0, count, dtype=np.float32)
    return np.tile(line, (channels, 1))


def test_a_relu_lets_the_share_above_zero_answer():
    """For `z` even on −1 … 1, `E[max(z + δ, 0)] = (1 + δ)² / 4` and its slope is `(1 + δ) / 2`."""
    response = Response(evenly(), *RELU)
    move = np.array([-0.5, 0.0, 0.3])
    np.testing.assert_allclose(response.mean(move), (1 + move) ** 2 / 4, atol=1e-4)
    np.testing.assert_allclose(response.share(move), (1 + move) / 2, atol=1e-3)


def test_the_move_is_the_root_of_the_closed_form():
    """`(1 + δ)² / 4 = 1/4 + s` at `δ = sqrt(1 + 4·s) − 1`."""
    shift = np.array([-0.05, 0.01, 0.1])
    found = Response(evenly(), *RELU).move(shift, np.zeros(3), 6)
    np.testing.assert_allclose(found, np.sqrt(1 + 4 * shift) - 1, atol=1e-4)


def test_without_an_activation_the_move_is_the_shift():
    shift = np.array([-0.4, 0.0, 2.0])
    found = Response(evenly(), *OPEN).move(shift, np.zeros(3), 1)
    np.testing.assert_allclose(found, shift, rtol=1e-5)


def test_a_channel_that_nothing_gets_through_moves_by_little():
    """It is not moved past what would follow if a hundredth got through, and no nearer is worse."""
    dead = Response(evenly(1) - 5.0, *RELU)
    found = dead.move(np.array([1e-3]), np.zeros(1), 3)
    assert np.abs(found) <= 1e-3 / LEAST_SHARE
    assert dead.mean(found) == 0.0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 2.0), st.integers(1, 4))
def test_no_channel_ends_farther_off_than_it_was(seed, size, steps):
    rng = np.random.default_rng(seed)
    samples = rng.normal(rng.normal(size=(5, 1)), 1.0, (5, 300)).astype(np.float32)
    low, high = np.float32(0.0), rng.uniform(0.5, 6.0, (5, 1)).astype(np.float32)
    response, shift = Response(samples, low, high), size * rng.normal(size=5)
    start = rng.normal(size=5)
    aim = response.mean(start) + shift
    missed = np.abs(aim - response.mean(response.move(shift, start, steps)))
    assert (missed <= np.abs(shift) + 1e-6).all()


def test_linear_shift_and_size():
    np.testing.assert_array_equal(
        linear_shift(np.ones(2), np.zeros(2), np.array([0.5, 2.0])), [0.5, -1.0]
    )
    assert rms(np.array([3.0, 4.0])) == pytest.approx(np.sqrt(12.5))
