import numpy as np
import pytest
from fewbits.histogram import Histogram
from fewbits.ranges import (
    SHRINK,
    entropy_range,
    mse_range,
    percentile_range,
    quantization_errors,
)
from hypothesis import given, settings
from hypothesis import strategies as st

RNG = np.random.default_rng(3)
SHAPES = {
    "normal": RNG.normal(size=20000),
    "relu": np.maximum(RNG.normal(size=20000), 0.0),
    "relu6": np.clip(RNG.normal(2.0, 4.0, size=20000), 0.0, 6.0),
    "silu": (lambda x: x / (1.0 + np.exp(-x)))(RNG.normal(0.0, 4.0, size=20000)),
    "tails": RNG.standard_t(2, size=20000),
    "negative": -RNG.exponential(size=20000),
}


def _seen(values):
    values = np.asarray(values, np.float32)
    return Histogram.of(values), min(float(values.min()), 0.0), max(float(values.max()), 0.0)


@pytest.fixture(params=sorted(SHAPES))
def seen(request):
    return _seen(SHAPES[request.param])


def _slow_error(histogram, low, high, bits):
    """The mean squared error bin by bin, as `quantization_errors` describes it."""
    levels = (1 << bits) - 1
    scale = (high - low) / levels
    rest = histogram.without_zeros()
    x, bottom = rest.centers, np.rint(low / scale)
    nearest = np.clip(np.rint(x / scale), bottom, bottom + levels)
    squared = np.square(x - nearest * scale)
    if scale < 4.0 * rest.width:
        squared = np.where((x > low) & (x < high), scale**2 / 12.0, squared)
    else:
        squared = squared + rest.width**2 / 12.0
    return float(squared @ rest.counts) / histogram.total


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_errors_by_cumulative_moments_are_those_found_bin_by_bin(seen, bits):
    histogram, low, high = seen
    grid = [(a, b) for a in (0.05, 0.3, 0.7, 1.0, 1.5) for b in (0.05, 0.31, 1.0, 40.0)]
    lows, highs = low * np.array([a for a, _ in grid]), high * np.array([b for _, b in grid])
    found = quantization_errors(histogram, lows, highs, bits)
    wanted = [_slow_error(histogram, a, b, bits) for a, b in zip(lows, highs, strict=True)]
    assert np.allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("bits", [4, 8])
def test_errors_are_near_those_of_the_samples_themselves(bits):
    x = SHAPES["normal"].astype(np.float32)
    histogram, low, high = _seen(x)
    levels = (1 << bits) - 1
    for a in (0.4, 0.8, 1.0):
        scale = (high - low) * a / levels
        bottom = np.rint(low * a / scale)
        rounded = np.clip(np.rint(x / scale), bottom, bottom + levels) * scale
        found = quantization_errors(histogram, np.array([low * a]), np.array([high * a]), bits)
        assert found[0] == pytest.approx(np.mean(np.square(x - rounded)), rel=0.03)


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_mse_takes_the_best_of_its_candidates(seen, bits):
    given_histogram, low, high = seen
    histogram = given_histogram.merge(Histogram.of(np.array([low, high])))

    def best(pairs):
        return min(pairs, key=lambda pair: _slow_error(histogram, *pair, bits))

    wanted = best([(low * a, high * a) for a in SHRINK])
    if low < 0.0 < high:
        wanted = best([(low * a, wanted[1]) for a in SHRINK])
        wanted = best([(wanted[0], high * a) for a in SHRINK])
    found = mse_range(given_histogram, low, high, bits)
    error = _slow_error(histogram, *found, bits)
    assert error == pytest.approx(_slow_error(histogram, *wanted, bits), rel=1e-9)


@settings(max_examples=50)
@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=50).filter(
        lambda values: max(values) > min(values)
    ),
    st.sampled_from([4, 8, 16]),
)
def test_mse_is_never_worse_than_min_max(values, bits):
    histogram, low, high = _seen(values)
    if high - low < 1e-30:
        return
    found = mse_range(histogram, low, high, bits)
    assert low <= found[0] <= 0.0 <= found[1] <= high
    histogram = histogram.merge(Histogram.of(np.array([low, high])))
    error = _slow_error(histogram, *found, bits)
    assert error <= _slow_error(histogram, low, high, bits) * (1 + 1e-6)


def test_mse_clips_an_outlier_only_where_bits_are_few():
    histogram, low, high = _seen([*RNG.normal(size=100000), 40.0])
    assert mse_range(histogram, low, high, 4)[1] < 10.0
    assert mse_range(histogram, low, high, 16)[1] == pytest.approx(40.0)


def test_mse_keeps_an_end_that_no_sample_shows_where_bits_are_many():
    histogram, _, _ = _seen(RNG.uniform(0.0, 1.0, size=1000))
    assert mse_range(histogram, -1.2, 1.5, 16) == (-1.2, 1.5)


def test_mse_of_values_that_a_level_each_hold_keeps_all_of_them():
    histogram, low, high = _seen(np.linspace(0.0, 15.0, 16))
    assert mse_range(histogram, low, high, 4) == (0.0, 15.0)


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9, 100.0])
def test_percentile_is_numpys_to_within_a_bin(seen, percentile):
    histogram, _, _ = seen
    values = np.repeat(histogram.centers, histogram.counts)
    low, high = percentile_range(histogram, percentile)
    wanted = np.percentile(values, [100.0 - percentile, percentile], method="inverted_cdf")
    assert low == pytest.approx(min(wanted[0], 0.0), abs=histogram.width)
    assert high == pytest.approx(max(wanted[1], 0.0), abs=histogram.width)


def test_percentile_100_keeps_everything(seen):
    histogram, low, high = seen
    found = percentile_range(histogram, 100.0)
    assert found[0] <= low
    assert found[1] >= high


def test_entropy_clips_the_outlier_of_a_gaussian():
    histogram, low, high = _seen([*RNG.normal(size=200000), 20.0])
    assert 3.0 < entropy_range(histogram, low, high, 8)[1] < 10.0


def test_entropy_keeps_what_is_uniform():
    histogram, low, high = _seen(RNG.uniform(-1.0, 1.0, 400000))
    found = entropy_range(histogram, low, high, 8)
    assert found[0] < 0.97 * low
    assert found[1] > 0.97 * high


def test_entropy_is_not_misled_by_the_spikes_of_a_relu6():
    histogram, low, high = _seen(np.clip(RNG.normal(0.0, 4.0, size=400000), 0.0, 6.0))
    assert entropy_range(histogram, low, high, 8)[1] > 5.8


def test_entropy_with_more_levels_than_bins_loses_nothing_and_keeps_all():
    histogram, low, high = _seen(RNG.normal(size=20000))
    assert entropy_range(histogram, low, high, 16) == (low, high)


def test_every_estimator_survives_a_histogram_of_zeros():
    histogram = Histogram.of(np.zeros(10, np.float32))
    for estimate in (mse_range, entropy_range):
        assert estimate(histogram, -1.0, 2.0, 16) == (-1.0, 2.0)
    assert percentile_range(histogram, 99.9)[0] == 0.0
