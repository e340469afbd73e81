import numpy as np
import pytest
from fewbits import weightrange
from fewbits.numerics import fake_quantize
from fewbits.weightrange import weight_encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

BITS = st.sampled_from([4, 8, 16])
WEIGHTS = arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 8), st.just(3)),
    elements=st.floats(-10, 10, width=32, allow_subnormal=False),
)


def _errors(weight, encoding):
    axes = tuple(a for a in range(weight.ndim) if a != encoding.axis)
    difference = weight.astype(np.float64) - fake_quantize(weight, encoding)
    return np.square(difference).sum(axis=axes)


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("axis", [0, 1, 2, None])
def test_minmax_puts_the_largest_magnitude_on_the_largest_integer(bits, axis):
    weight = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    encoding = weight_encoding(weight, bits, axis=axis, method="minmax")
    axes = tuple(a for a in range(3) if a != axis) if axis is not None else None
    wanted = np.abs(weight).max(axis=axes).astype(np.float64) / (2 ** (bits - 1) - 1)
    assert np.array_equal(encoding.scale, wanted.astype(np.float32))
    assert (encoding.signed, encoding.narrow, encoding.axis) == (True, True, axis)
    assert not encoding.zero_point.any()


@settings(max_examples=60)
@given(WEIGHTS, BITS, st.sampled_from([0, 1, None]))
def test_mse_is_never_worse_than_minmax(weight, bits, axis):
    best = weight_encoding(weight, bits, axis=axis, method="mse")
    plain = weight_encoding(weight, bits, axis=axis, method="minmax")
    noise = 1e-5 * np.square(plain.scale.astype(np.float64)) * weight.size
    assert (_errors(weight, best) <= _errors(weight, plain) * (1 + 1e-4) + noise).all()


@settings(max_examples=60)
@given(WEIGHTS, BITS, st.sampled_from([0, 1, None]), st.sampled_from(["mse", "minmax"]))
def test_rounding_again_changes_nothing(weight, bits, axis, method):
    encoding = weight_encoding(weight, bits, axis=axis, method=method)
    once = fake_quantize(weight, encoding)
    assert np.array_equal(fake_quantize(once, encoding), once)


@pytest.mark.parametrize("bits", [4, 8])
def test_mse_is_near_the_best_of_a_fine_search(bits):
    weight = np.random.default_rng(1).standard_t(4, size=(6, 500)).astype(np.float32)
    found = _errors(weight, weight_encoding(weight, bits, axis=0))
    plain = weight_encoding(weight, bits, axis=0, method="minmax")
    least = np.full(6, np.inf)
    for fraction in np.linspace(0.25, 1.0, 400):
        scale = plain.scale.astype(np.float64)[:, None] * fraction
        qmax = 2 ** (bits - 1) - 1
        rounded = np.clip(np.rint(weight / scale), -qmax, qmax) * scale
        least = np.minimum(least, np.square(weight - rounded).sum(axis=1))
    assert (found <= 1.03 * least).all()


def test_four_bits_clip_an_outlier_that_eight_keep():
    weight = np.random.default_rng(2).normal(size=(1, 5000)).astype(np.float32)
    weight[0, 0] = 6.0
    few, more = (weight_encoding(weight, bits, axis=0) for bits in (4, 8))
    assert few.high[0] < 4.5
    assert more.high[0] > 4.5


@pytest.mark.parametrize("method", ["mse", "minmax"])
def test_a_channel_of_zeros_gets_the_largest_scale(method):
    weight = np.array([[0.0, 0.0], [1.0, -0.2], [0.0, 3.0], [1e-42, 0.0]], np.float32)
    scale = weight_encoding(weight, 8, axis=0, method=method).scale
    assert scale[0] == scale[3] == scale.max() > scale[1]


@pytest.mark.parametrize("axis", [0, None])
def test_a_weight_of_zeros_gets_a_scale_of_one(axis):
    encoding = weight_encoding(np.zeros((2, 3), np.float32), 8, axis=axis)
    assert (encoding.scale == 1.0).all()


def test_results_do_not_depend_on_how_the_weight_is_cut_into_blocks(monkeypatch):
    weight = np.random.default_rng(3).normal(size=(7, 40)).astype(np.float32)
    whole = [weight_encoding(weight, 4, axis=axis).scale for axis in (0, 1, None)]
    for block in (1, 30, 100):
        monkeypatch.setattr(weightrange, "BLOCK", block)
        cut = [weight_encoding(weight, 4, axis=axis).scale for axis in (0, 1, None)]
        assert all(np.array_equal(a, b) for a, b in zip(whole, cut, strict=True))
