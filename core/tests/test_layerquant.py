import numpy as np
import pytest
from fewbits.graph import constant, layers, set_constant
from fewbits.layerquant import quantize_layer
from fewbits.model import Encoding, Precision
from fewbits.numerics import fake_quantize
from fewbits.runtime import Session
from fewbits.testing import toys
from fewbits.testing.net import Net

SOURCE = Encoding(8, False, np.float32(0.02), np.int64(128))


def _layer(toy, index=0):
    model = toys.TOYS[toy]().copy()
    return model, list(layers(model.graph))[index]


@pytest.mark.parametrize("toy", ["conv_chain", "depthwise", "gemm", "conv_transpose"])
@pytest.mark.parametrize("mode", ["a8_w8", "a8_w4", "a16_w16"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_weight_and_bias_lie_on_their_grids(toy, mode, per_channel):
    _, layer = _layer(toy, 1)
    found = quantize_layer(layer, Precision.parse(mode), SOURCE, per_channel=per_channel)
    assert set(found) == {str(layer.weight.name), str(layer.bias.name)}
    for value in (layer.weight, layer.bias):
        array = constant(value)
        assert np.array_equal(fake_quantize(array, found[str(value.name)]), array)
    weight = found[str(layer.weight.name)]
    assert weight.bits == Precision.parse(mode).weight_bits
    assert weight.axis == (layer.weight_axis if per_channel else None)


def test_a_bias_is_counted_in_products_of_the_scales():
    _, layer = _layer("conv_chain")
    found = quantize_layer(layer, Precision(8, 8), SOURCE)
    weight, bias = found[str(layer.weight.name)], found[str(layer.bias.name)]
    assert np.allclose(bias.scale, weight.scale * 0.02, rtol=1e-6)
    assert bias.bits == 32


@pytest.mark.parametrize(("activation", "weight", "bits"), [(8, 8, 32), (16, 8, 48), (8, 16, 48)])
def test_accumulators_are_wider_above_eight_bits(activation, weight, bits):
    _, layer = _layer("conv_chain")
    source = Encoding(activation, False, np.float32(0.02), np.int64(0))
    found = quantize_layer(layer, Precision(activation, weight), source)
    assert found[str(layer.bias.name)].bits == bits


def test_a_target_may_have_narrower_biases():
    _, layer = _layer("conv_chain")
    found = quantize_layer(layer, Precision(8, 8), SOURCE, bias_bits=16)
    bias = found[str(layer.bias.name)]
    assert bias.bits == 16
    assert (np.abs(constant(layer.bias)) <= 2**14.001 * bias.scale).all()


def test_a_layer_without_a_bias_gives_one_encoding():
    _, layer = _layer("matmul")
    assert list(quantize_layer(layer, Precision(8, 4), SOURCE)) == ["weight"]


def test_zeros_of_a_weight_stay_zeros():
    _, layer = _layer("conv_chain")
    weight = np.array(constant(layer.weight))
    mask = np.random.default_rng(0).random(weight.shape) < 0.5
    set_constant(layer.weight, weight * mask)
    quantize_layer(layer, Precision(8, 4), SOURCE)
    assert not constant(layer.weight)[~mask].any()


def _mean_shift(make, corrected):
    """The output's mean before and after rounding the weights of a network of one layer."""
    model = make(Net("layer"))
    dataset = toys.calibration(model, 64)
    dataset.inputs["x"] += 1.5
    float_mean = next(iter(Session(model.network).run(dataset.inputs).values()))
    new = model.copy()
    layer = next(layers(new.graph))
    x = dataset.inputs["x"]
    mean = x.mean(axis=tuple(a for a in range(x.ndim) if a != 1), dtype=np.float64)
    quantize_layer(layer, Precision(8, 4), SOURCE, mean=mean if corrected else None)
    rounded = next(iter(Session(new.network).run(dataset.inputs).values()))
    axes = tuple(a for a in range(rounded.ndim) if a != 1)
    shift = np.abs((rounded - float_mean).mean(axis=axes))
    return shift.max(), float(np.abs(float_mean).mean())


def _pointwise(net):
    net.output(net.conv(net.input("x", 6, 5, 5), 6, 8, 1), 8, 5, 5)
    return net.build()


def _grouped(net):
    net.output(net.conv(net.input("x", 6, 5, 5), 6, 8, 1, group=2), 8, 5, 5)
    return net.build()


def _upsampling(net):
    weight, bias = net.normal((6, 4, 2, 2), 6), net.bias(4, "bias")
    x = net.op("ConvTranspose", net.input("x", 6, 5, 5), weight, bias, strides=[2, 2])
    net.output(x, 4, 10, 10)
    return net.build()


def _dense(net):
    net.output(net.gemm(net.input("x", 20), 20, 5), 5)
    return net.build()


def _dense_other_way(net):
    weight, bias = net.normal((20, 5), 20), net.bias(5, "bias")
    net.output(net.op("Gemm", net.input("x", 20), weight, bias), 5)
    return net.build()


@pytest.mark.parametrize("make", [_pointwise, _grouped, _upsampling, _dense, _dense_other_way])
def test_the_bias_takes_up_the_shift_of_the_outputs_mean(make):
    before, size = _mean_shift(make, corrected=False)
    after, _ = _mean_shift(make, corrected=True)
    assert before > 0.01 * size
    assert after < 0.05 * before
