"""Sums in blocks against plain numpy in float64."""

import numpy as np
import pytest
from fewbits import powers as module
from fewbits.powers import powers, sums
from hypothesis import given
from hypothesis import strategies as st


def pair(shape, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape).astype(np.float32)
    return x, (x + 0.1 * rng.normal(size=shape)).astype(np.float32)


@given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 40), st.integers(0, 99))
def test_sums_by_channel(samples, channels, positions, seed):
    x, y = pair((samples, channels, positions), seed)
    found = sums(x, y, axis=1)
    wide, off = x.astype(np.float64), y.astype(np.float64) - x
    assert found.powers.signal == pytest.approx(np.square(wide).sum(), rel=1e-5)
    assert found.powers.noise == pytest.approx(np.square(off).sum(), rel=1e-5)
    np.testing.assert_array_equal(found.low, x.min(axis=(0, 2)))
    np.testing.assert_array_equal(found.high, x.max(axis=(0, 2)))
    np.testing.assert_allclose(found.shift, off.sum(axis=(0, 2)), rtol=1e-4, atol=1e-5)
    assert found.count == samples * positions


def test_channels_that_come_last():
    x, y = pair((3, 5, 4), 0)
    found = sums(x, y, axis=-1)
    np.testing.assert_array_equal(found.high, x.max(axis=(0, 1)))
    np.testing.assert_allclose(found.shift, (y - x).sum(axis=(0, 1)), rtol=1e-5)
    assert found.count == 15


@pytest.mark.parametrize("shape", [(2, 3, 17, 19), (1, 1, 300, 300), (4, 3)])
def test_blocks_make_no_difference(shape, monkeypatch):
    x, y = pair(shape, 1)
    whole = sums(x, y, axis=1), powers(x, y)
    monkeypatch.setattr(module, "BLOCK", 64)
    parts = sums(x, y, axis=1), powers(x, y)
    assert parts[0].powers.noise == pytest.approx(whole[0].powers.noise, rel=1e-5)
    assert parts[1].signal == pytest.approx(whole[1].signal, rel=1e-5)
    np.testing.assert_allclose(parts[0].shift, whole[0].shift, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(parts[0].low, whole[0].low)
