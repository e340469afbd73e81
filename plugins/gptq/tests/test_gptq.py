"""GPTQ on quantized networks: less error, masks kept, means right, what is left alone."""

from dataclasses import replace

import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.data import ArrayDataset
from fewbits.errors import DataError, ModelError, RecipeError
from fewbits.graph import constant, layers, set_constant
from fewbits.layermatrix import columns
from fewbits.model import Model
from fewbits.noise import layer_snr
from fewbits.targets import ShiftLimits
from fewbits.testing import toys
from fewbits.testing.inspection import context
from fewbits.walk import Walk
from fewbits_gptq.algorithm import Gptq, with_bias
from fewbits_gptq.options import GptqOptions
from fewbits_gptq.solve import Solved, solve
from fewbits_gptq.sums import halves_of, sums_of


def quantized(model: Model, precision: str = "a8_w4", **options) -> Model:
    step = UniformQuantizer(UniformOptions(precision=precision, **options))
    return step.apply(model, ready(model)).model


def ready(model: Model, count: int = 32, seed: int = 0):
    return context(CpuTarget(), toys.calibration(model, count, seed))


def correlated(model: Model, count: int, seed: int) -> ArrayDataset:
    """Return samples of few degrees of freedom each, as pictures are, unlike white noise."""
    arrays = toys.calibration(model, count, seed).inputs
    mixing = np.random.default_rng(7)
    found = {}
    for name, array in arrays.items():
        flat = array.reshape(count, -1)
        basis = mixing.normal(size=(4, flat.shape[1])).astype(np.float32)
        found[name] = (flat[:, :4] @ basis + 0.2 * flat).reshape(array.shape)
    return ArrayDataset(found)


def last_snr(model: Model) -> float:
    return layer_snr(model, correlated(model, 64, 1), threads=1)[-1].snr_db


@pytest.mark.parametrize("asymmetric", [True, False])
@pytest.mark.parametrize("toy", ["conv_chain", "residual", "depthwise", "gemm", "conv_transpose"])
def test_the_output_is_closer_on_other_data(toy, asymmetric):
    float_model = toys.TOYS[toy]()
    setting = context(CpuTarget(), correlated(float_model, 64, 0))
    quantizer = UniformQuantizer(UniformOptions(precision="a8_w4"))
    model = quantizer.apply(float_model, setting).model
    new = Gptq(GptqOptions(asymmetric=asymmetric)).apply(model, setting).model
    assert last_snr(new) > last_snr(model) + 0.2


def test_means_are_right_on_its_own_data():
    """The float mean of each output channel, up to the activation's step."""
    model = quantized(toys.conv_chain())
    setting = ready(model)
    new = Gptq().apply(model, setting).model
    inputs = setting.calibration
    with Walk(new, inputs, threads=1) as walk:
        for visit in walk:
            if visit.layer.activation is None:
                quantized_mean = np.mean([visit.forward(q) for q in visit.source.batches()])
                float_mean = np.mean([visit.float_forward(x) for x in visit.float_source.batches()])
                assert quantized_mean == pytest.approx(float_mean, abs=2e-3)


def test_pruned_weights_stay_zero():
    model = quantized(toys.residual())
    name = next(str(layer.weight.name) for layer in layers(model.graph))
    held = model.graph.initializers[name].const_value.numpy()
    mask = np.random.default_rng(0).random(held.shape) < 0.5
    float_model = model.ancestors[-1]
    new = Gptq().apply(model.replace(masks={name: mask}), ready(float_model)).model
    assert not new.graph.initializers[name].const_value.numpy()[~mask].any()


def test_layers_of_more_bits_are_left_alone():
    model = quantized(toys.residual(), "a8_w8")
    result = Gptq(GptqOptions(bits=4)).apply(model, ready(model))
    assert not result.report.changed
    assert {note.reason for note in result.report.layers} == {
        "its weights have 8 bits, more than bits=4"
    }


def test_layers_by_name():
    model = quantized(toys.residual())
    first = next(iter(model.precisions))
    report = Gptq(GptqOptions(layers=(first,))).apply(model, ready(model)).report
    assert {note.layer for note in report.layers if note.action == "rounded"} == {first}
    with pytest.raises(RecipeError, match="no layer matches 'cnv'"):
        Gptq(GptqOptions(layers=("cnv",))).apply(model, ready(model))
    with pytest.raises(DataError, match="fewer than the 64 asked for"):
        Gptq(GptqOptions(samples=64)).apply(model, ready(model))


def test_sums_are_those_of_both_inputs():
    model = quantized(toys.gemm())
    with Walk(model, toys.calibration(model, 10), threads=1) as walk:
        for visit in walk:
            sums = sums_of(visit, cross=True)
            x = np.concatenate([visit.source.real(q) for q in visit.source.batches()])
            t = np.concatenate(list(visit.float_source.batches()))
            np.testing.assert_allclose(sums.second[0], x.T @ x, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(sums.cross[0], t.T @ x, rtol=1e-4, atol=1e-4)
            covariance = np.cov(x.T, bias=True)
            np.testing.assert_allclose(sums.covariance[0], covariance, atol=1e-4)
            assert (sums.count, sums.samples) == (10, 10)


def test_halves_hold_every_sample_once():
    model = quantized(toys.conv_chain())
    with Walk(model, toys.calibration(model, 9), threads=1) as walk:
        for visit in walk:
            first, second = halves_of(visit, cross=True)
            assert (first.samples, second.samples) == (5, 4)
            whole = sums_of(visit, cross=True)
            np.testing.assert_allclose(first.merge(second).second, whole.second)
            assert not np.allclose(first.second, second.second)


def test_what_is_lacking_behind_a_layer_is_summed():
    """Of a residual block the other branch, float minus quantized, against the inputs."""
    model = quantized(toys.residual())
    found = 0
    with Walk(model, toys.calibration(model, 8), threads=1) as walk:
        for visit in walk:
            sums = sums_of(visit, cross=True)
            if visit.addend is None:
                assert sums.extra is None
                continue
            found += 1
            x = columns(visit.layer, visit.source.real(visit.source.rows(range(8))))[0]
            lacking = visit.addend.missing(range(8))
            d = np.moveaxis(lacking, 1, 0).reshape(lacking.shape[1], -1)
            np.testing.assert_allclose(sums.extra[0], d @ x.T, rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(sums.first_extra[0], d.sum(axis=1), rtol=1e-3, atol=1e-3)
    assert found


def test_moments_of_a_layer_without_a_bias_are_not_about_the_means():
    """A MatMul's mean is nobody's but its weights': the error that counts has it in."""
    float_model = toys.matmul()
    data = correlated(float_model, 64, 0)
    shifted = ArrayDataset({name: x + 3.0 for name, x in data.inputs.items()})
    setting = context(CpuTarget(), shifted)
    quantizer = UniformQuantizer(UniformOptions(precision="a8_w4"))
    model = quantizer.apply(float_model, setting).model
    with Walk(model, shifted, threads=1) as walk:
        sums = sums_of(next(iter(walk)), cross=False, centered=False)
        np.testing.assert_allclose(sums.covariance, sums.second / sums.count)
    new = Gptq().apply(model, setting).model
    shift = [mean_shift(each, shifted) for each in (model, new)]
    assert shift[1] < 0.7 * shift[0]


def mean_shift(model: Model, data: ArrayDataset) -> float:
    """Return how far the first layer's output is off in the mean, root mean square."""
    with Walk(model, data, threads=1) as walk:
        visit = next(iter(walk))
        found = np.concatenate([visit.forward(q) for q in visit.source.batches()])
        wanted = np.concatenate([visit.float_forward(x) for x in visit.float_source.batches()])
    axes = tuple(range(found.ndim - 1))
    return float(np.sqrt(np.mean((found - wanted).mean(axis=axes) ** 2)))


def test_of_several_scales_each_channel_keeps_the_best():
    """Never farther off than with the first alone, by the error that rounding goes by."""
    model = quantized(toys.residual())
    setting = context(CpuTarget(), correlated(model, 64, 0))
    with Walk(model, setting.calibration, threads=1) as walk:
        visit = next(iter(walk))
        halves = halves_of(visit, cross=True)
        tries = GptqOptions().multiples
        each = [solve(visit, halves, GptqOptions(multiples=(one,))) for one in tries]
        best = solve(visit, halves, GptqOptions())
    assert best.error_after < min(one.error_after for one in each)
    found = np.stack([one.encoding.scale for one in each])
    assert (found == best.encoding.scale).any(axis=0).all()


def test_a_channel_of_next_to_no_weights_gets_room_for_its_bias():
    """At its own step the bias would need more than 32 bits."""
    model = quantized(toys.conv_chain())
    with Walk(model, toys.calibration(model, 16), threads=1) as walk:
        visit = next(iter(walk))
        scale = np.full_like(visit.weight_encoding.scale, 1e-12)
        tiny = Solved(visit.weight * 0.0, replace(visit.weight_encoding, scale=scale), 1.0, 1.0)
        wanted = np.linspace(-2.0, 2.0, visit.layer.out_channels)
        with pytest.raises(ModelError, match="does not fit 32 bits"):
            visit.replace(weight=tiny.weight, bias=wanted, encoding=tiny.encoding)
        solved, bias = with_bias(visit, tiny, wanted)
        visit.replace(weight=solved.weight, bias=bias, encoding=solved.encoding)
        np.testing.assert_allclose(visit.bias, wanted, rtol=1e-6)


class Narrow(CpuTarget):
    """A device whose channels must share a shift."""

    name = "narrow"
    spec = replace(CpuTarget.spec, shifts=ShiftLimits({8: 8, 16: 16}, 2))


def test_scales_stay_as_close_together_as_the_device_asks():
    """Also where a channel's weights are 32 times smaller than the others'."""
    model = toys.conv_chain().copy()
    for layer in layers(model.graph):
        weight = np.array(constant(layer.weight))
        weight[0] /= 32.0
        set_constant(layer.weight, weight)
    setting = context(Narrow(), toys.calibration(model, 32, 0))
    start = UniformQuantizer(UniformOptions()).apply(model, setting).model
    free = Gptq().apply(start, ready(model)).model
    held = Gptq().apply(start, setting).model

    def apart(found):
        scales = [found.encodings[str(each.weight.name)].scale for each in layers(found.graph)]
        return max(float(each.max() / each.min()) for each in scales)

    assert apart(free) > 4.01
    assert apart(held) <= 4.01
