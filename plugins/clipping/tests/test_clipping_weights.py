"""Weights end at the bounds that were asked for."""

import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.graph import layers
from fewbits.histogram import Histogram
from fewbits.testing import toys
from fewbits.testing.inspection import context, float_outputs
from fewbits_clipping.bounds import clip_to_least_error, histogram_percentiles, share_outside
from fewbits_clipping.weights import WeightClipping, WeightClippingOptions
from hypothesis import given
from hypothesis import strategies as st


def clipped(model, **options):
    data = context(CpuTarget(), toys.calibration(model, 64))
    return WeightClipping(WeightClippingOptions(**options)).apply(model, data)


def weights(model):
    return {layer.name: layer.weight.const_value.numpy() for layer in layers(model.graph)}


def test_percentiles_are_those_of_each_weight():
    model = toys.conv_chain()
    after = weights(clipped(model, mode="percentile", clipping_values=(10, 80)).model)
    for name, weight in weights(model).items():
        low, high = np.percentile(weight.astype(np.float64), [10, 80]).astype(np.float32)
        np.testing.assert_array_equal(after[name], np.clip(weight, low, high))


def test_bounds_by_hand_hold_for_the_layers_named():
    model = toys.conv_chain()
    first, *others = weights(model)
    result = clipped(model, layers=first, mode="manual", clipping_values=(-0.1, 0.2))
    before, after = weights(model), weights(result.model)
    np.testing.assert_array_equal(after[first], before[first].clip(-0.1, 0.2))
    assert result.report.layers[0].values["clipped"] == (after[first] != before[first]).sum()
    assert all(np.array_equal(after[name], before[name]) for name in others)


def test_a_shared_weight_is_clipped_for_the_layer_that_was_named_alone():
    model = toys.shared_weights()
    names = [name for name, w in weights(model).items() if w.shape == (8, 8, 3, 3)]
    result = clipped(model, layers=(names[0],), mode="manual", clipping_values=(0, 0))
    after = weights(result.model)
    assert not after[names[0]].any()
    np.testing.assert_array_equal(after[names[1]], weights(model)[names[1]])


@pytest.mark.parametrize("toy", [toys.gemm, toys.conv_transpose, toys.channel_shuffle])
def test_the_bias_takes_up_what_clipping_does_to_the_mean(toy):
    model = toy()
    last = list(layers(model.graph))[-1].name
    inputs = toys.calibration(model, 64).inputs

    def channel_means(**options):
        result = clipped(
            model, layers=(last,), mode="manual", clipping_values=(-0.2, 0.1), **options
        )
        (output,) = float_outputs(result.model, inputs).values()
        return output.mean(axis=(0, *range(2, output.ndim)))

    (before,) = float_outputs(model, inputs).values()
    mean = before.mean(axis=(0, *range(2, before.ndim)))
    without = np.abs(channel_means(bias_correction=False) - mean).max()
    assert np.abs(channel_means() - mean).max() < 0.2 * without


def rounded(weight, bits, bound):
    qmax = 2 ** (bits - 1) - 1
    scale = bound / qmax
    return np.rint(np.clip(weight / scale, -qmax, qmax)) * scale


@pytest.mark.parametrize("bits", [2, 4])
def test_least_error_is_as_good_as_any_bound_tried(bits):
    weight = np.random.default_rng(0).standard_t(3, size=(4, 400))
    result = clip_to_least_error(weight, bits, axis=0)
    for row, after in zip(weight, result, strict=True):
        peak = np.abs(row).max()
        tried = [np.square(row - rounded(row, bits, peak * f)).sum() for f in np.linspace(0.3, 1)]
        found = np.square(row - rounded(after, bits, np.abs(after).max())).sum()
        assert found <= min(tried) * 1.01


def test_least_error_is_sought_at_four_bits_only_unless_asked():
    model = toys.conv_chain()
    assert clipped(model).report.changed is False
    assert all("8 bits" in note.reason for note in clipped(model).report.layers)
    four = clipped(model, bits=4)
    assert four.report.changed is True
    explicit = clipped(model, mode="mmse", bits=4)
    before, after = weights(four.model), weights(explicit.model)
    assert all(np.array_equal(before[name], after[name]) for name in before)


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=200),
    st.floats(0, 20),
    st.floats(80, 100),
)
def test_histogram_percentiles_cut_no_more_than_was_asked(values, low, high):
    histogram = Histogram.of(np.array(values))
    bounds = histogram_percentiles(histogram, low, high)
    assert bounds[0] <= 0.0 <= bounds[1]
    assert share_outside(histogram, bounds) <= (low + 100 - high) / 100 + 1e-9
    if (low, high) == (0, 100):
        assert bounds[0] <= min(values)
        assert max(values) <= bounds[1]
