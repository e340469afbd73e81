from fractions import Fraction

import numpy as np
import pytest
from fewbits.model import Encoding
from fewbits.numerics import (
    dequantize,
    encoding_from_range,
    fake_quantize,
    quantize,
    requantize,
)
from hypothesis import given
from hypothesis import strategies as st

SCALES = st.floats(2.0**-60, 2.0**60, width=32)
BITS = st.sampled_from([4, 8, 16])


def _encoding(bits=8, *, signed=False, scale=1.0, zero_point=0, axis=None, narrow=False):
    scale = np.asarray(scale, np.float32)
    points = np.broadcast_to(np.asarray(zero_point, np.int64), scale.shape)
    return Encoding(bits, signed, scale, points, axis, narrow)


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "ends"),
    [
        (4, True, True, (-7, 7)),
        (8, True, False, (-128, 127)),
        (8, False, False, (0, 255)),
        (16, True, True, (-32767, 32767)),
        (16, False, False, (0, 65535)),
        (32, True, False, (-(2**31), 2**31 - 1)),
    ],
)
def test_values_beyond_the_ends_are_clipped_to_them(bits, signed, narrow, ends):
    encoding = _encoding(bits, signed=signed, narrow=narrow)
    assert tuple(quantize(np.array([-1e30, 1e30]), encoding)) == ends
    assert (encoding.qmin, encoding.qmax) == ends


def test_ties_go_to_the_even_integer():
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]) * 0.25
    assert list(quantize(x, _encoding(signed=True, scale=0.25))) == [-2, -2, 0, 0, 2, 2]


@given(BITS, st.booleans(), SCALES, st.data())
def test_every_integer_comes_back_from_the_value_it_stands_for(bits, signed, scale, data):
    lowest = -(1 << (bits - 1)) if signed else 0
    zero_point = data.draw(st.integers(lowest, lowest + (1 << bits) - 1))
    encoding = _encoding(bits, signed=signed, scale=scale, zero_point=zero_point)
    q = np.arange(encoding.qmin, encoding.qmax + 1)
    assert np.array_equal(quantize(dequantize(q, encoding), encoding), q)


@given(
    st.floats(2.0**-40, 2.0**10, width=32),
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1),
)
def test_a_bias_of_32_bits_that_is_rounded_again_stays_the_same(scale, integers):
    encoding = _encoding(32, signed=True, scale=scale)
    once = dequantize(np.array(integers), encoding)
    assert np.array_equal(fake_quantize(once, encoding), once)


@given(
    st.floats(-1e6, 1e6, width=32),
    st.floats(-1e6, 1e6, width=32),
    BITS,
    st.booleans(),
)
def test_the_range_of_an_activation_holds_zero_exactly_and_its_ends_nearly(a, b, bits, signed):
    low, high = min(a, b), max(a, b)
    encoding = encoding_from_range(low, high, bits, signed=signed)
    assert fake_quantize(np.zeros(1, np.float32), encoding)[0] == 0.0
    slack = 0.5001 * float(encoding.scale)
    assert encoding.low <= min(low, 0.0) + slack
    assert encoding.high >= max(high, 0.0) - slack
    assert encoding.qmin <= encoding.zero_point <= encoding.qmax


@given(
    st.floats(0.0, 1e6, width=32),
    st.floats(0.0, 1e6, width=32),
    st.sampled_from([4, 8]),
    st.floats(0, 1),
)
def test_inside_the_range_rounding_is_off_by_half_a_step_at_most(down, up, bits, share):
    encoding = encoding_from_range(-down, up, bits)
    x = np.array([encoding.low + share * (encoding.high - encoding.low)])
    error = np.abs(x - fake_quantize(x, encoding))
    assert error[0] <= 0.5 * float(encoding.scale) * (1 + 1e-4)


def test_a_tensor_that_is_always_zero_gets_a_usable_scale():
    encoding = encoding_from_range(0.0, 0.0, 8)
    assert encoding.scale >= np.finfo(np.float32).tiny
    assert fake_quantize(np.zeros(3, np.float32), encoding).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_channel_is_rounded_with_its_own_scale_and_zero_point(axis):
    rng = np.random.default_rng(axis)
    x = rng.normal(size=(3, 3, 3)).astype(np.float32)
    scales, points = np.array([0.01, 0.1, 0.5], np.float32), np.array([0, 100, 255])
    whole = quantize(x, Encoding(8, False, scales, points, axis))
    for channel in range(3):
        alone = Encoding(8, False, scales[channel], points[channel])
        part = np.take(x, channel, axis)
        assert np.array_equal(np.take(whole, channel, axis), quantize(part, alone))
        assert np.array_equal(
            np.take(fake_quantize(x, Encoding(8, False, scales, points, axis)), channel, axis),
            fake_quantize(part, alone),
        )


def _exactly(accumulator, multiplier, encoding):
    """`accumulator · multiplier` by rational arithmetic: its rounding and its distance to a tie."""
    product = Fraction(int(accumulator)) * Fraction(float(multiplier))
    nearest = round(product)  # half to even
    distance = abs(abs(product - nearest) - Fraction(1, 2))
    clipped = min(max(nearest + int(encoding.zero_point), encoding.qmin), encoding.qmax)
    return clipped, distance


@given(
    st.integers(-(2**31), 2**31 - 1),
    st.floats(2.0**-32, 1.0, width=32),
    st.integers(0, 255),
    st.sampled_from([8, 16]),
)
def test_requantizing_agrees_with_rational_arithmetic(accumulator, multiplier, zero_point, bits):
    encoding = _encoding(bits, zero_point=zero_point)
    found = requantize(np.array([accumulator]), np.float32(multiplier), encoding)[0]
    wanted, distance = _exactly(accumulator, multiplier, encoding)
    # float32, as in the runtime: a product within its rounding error of a tie may go either way
    slack = abs(accumulator * multiplier) * 2.0**-22
    assert found == wanted or (abs(found - wanted) <= 1 + slack and distance <= slack)


def test_requantizing_takes_one_multiplier_for_each_channel():
    accumulator = np.array([[10, 11], [10, 11]])
    multiplier = np.array([0.25, 0.5], np.float32)
    encoding = _encoding(zero_point=3)
    assert requantize(accumulator, multiplier, encoding, axis=0).tolist() == [[5, 6], [8, 9]]
    assert requantize(accumulator, multiplier, encoding, axis=1).tolist() == [[5, 9], [5, 9]]
