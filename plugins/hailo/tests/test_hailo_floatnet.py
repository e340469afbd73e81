"""The float network that is handed over: which weights, which names, which layout."""

import numpy as np
import onnx
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformQuantizer
from fewbits.errors import TargetError
from fewbits.graph import constant, layers, set_constant
from fewbits.interfaces import Context
from fewbits.model import Stage
from fewbits.numerics import dequantize, fake_quantize, quantize
from fewbits.runtime import Session
from fewbits.testing import Net, toys
from fewbits.weightrange import weight_encoding
from fewbits_hailo.floatnet import float_network, to_onnx
from fewbits_hailo.weights import spans_grid


def quantized(model, **options):
    context = Context(CpuTarget(), toys.calibration(model), threads=1)
    return UniformQuantizer(UniformQuantizer.Options(**options)).apply(model, context).model


def run(data, network, inputs):
    return Session(data, threads=1).run({e.name: inputs[e.source] for e in network.inputs})


@pytest.mark.parametrize("toy", toys.TOYS)
def test_what_was_only_rounded_is_handed_over_in_float(toy):
    model = quantized(toys.TOYS[toy](), weight_range="minmax", bias_correction=False)
    network = float_network(model)
    data = to_onnx(network.network)
    proto = onnx.load_from_string(data)
    onnx.checker.check_model(proto, full_check=True)
    assert all(d.dim_value for v in proto.graph.input for d in v.type.tensor_type.shape.dim)
    inputs = toys.calibration(model, 3, seed=5).inputs
    before = Session(model.at(Stage.OPTIMIZED).network, threads=1).run(inputs)
    for array, after in zip(before.values(), run(data, network, inputs).values(), strict=True):
        np.testing.assert_allclose(after, array, rtol=1e-5, atol=1e-5)
    assert network.improved == ()


@pytest.mark.parametrize("toy", ["conv_chain", "depthwise", "gemm", "conv_transpose", "matmul"])
@pytest.mark.parametrize("weights", ["per_tensor", "per_channel"])
@pytest.mark.parametrize("precision", ["a8_w4", "a8_w8"])
def test_rounding_what_was_handed_over_gives_the_weights_that_fewbits_has(toy, weights, precision):
    options = {"weights": weights, "precision": precision, "bias_correction": False}
    model = quantized(toys.TOYS[toy](), **options)
    given = {layer.name: layer for layer in layers(float_network(model).network.graph)}
    for layer in layers(model.graph):
        encoding = model.encodings[layer.weight.name]
        held, own = (np.asarray(constant(x.weight)) for x in (given[layer.name], layer))
        assert not np.array_equal(held, own)
        assert np.array_equal(fake_quantize(held, encoding), own)
        # A compiler that looks for the largest magnitude finds the same scales.
        axes = tuple(a for a in range(held.ndim) if a != encoding.axis)
        largest = np.abs(held).max(axis=axes if encoding.axis is not None else None)
        np.testing.assert_allclose(largest / encoding.qmax, encoding.scale, rtol=1e-6)


def test_corrected_biases_and_moved_weights_are_handed_over_as_they_stand():
    model = quantized(toys.conv_chain(), weight_range="minmax", bias_correction=False).copy()
    first, second, third = layers(model.graph)
    bias = np.asarray(constant(first.bias)) + 3 * model.encodings[first.bias.name].scale
    set_constant(first.bias, bias.astype(np.float32))
    scale = model.encodings[second.weight.name].scale[0]
    weight = np.array(constant(second.weight))
    weight[0, 0, 0, 0] -= np.sign(weight[0, 0, 0, 0]) * scale
    set_constant(second.weight, weight)
    network = float_network(model)
    assert network.improved == (first.name, second.name)
    given = {layer.name: layer for layer in layers(network.network.graph)}
    for layer in (first, second):
        for name in ("weight", "bias"):
            own, held = constant(getattr(layer, name)), getattr(given[layer.name], name)
            assert np.array_equal(constant(held), own)
    assert not np.array_equal(constant(given[third.name].weight), constant(third.weight))


@pytest.mark.parametrize("weights", ["per_tensor", "per_channel"])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_compiler_that_rounds_to_the_largest_magnitude_finds_improved_weights_again(
    weights, bits
):
    model = quantized(toys.depthwise(), weights=weights, precision=f"a8_w{bits}").copy()
    rng = np.random.default_rng(bits)
    for layer in list(layers(model.graph)):
        encoding = model.encodings[layer.weight.name]
        integers = quantize(np.asarray(constant(layer.weight)), encoding)
        moved = integers + rng.integers(-1, 2, integers.shape)
        kept = np.abs(integers) >= encoding.qmax - 1  # a step leaves the largest where it is
        set_constant(layer.weight, dequantize(np.where(kept, integers, moved), encoding))
    network = float_network(model)
    assert network.loose == ()
    assert len(network.improved) == 3
    own = {layer.name: layer for layer in layers(model.graph)}
    for layer in layers(network.network.graph):
        encoding = model.encodings[own[layer.name].weight.name]
        held = np.asarray(constant(layer.weight))
        found = weight_encoding(held, bits, axis=encoding.axis, method="minmax")
        assert np.array_equal(quantize(held, found), quantize(held, encoding))
        np.testing.assert_allclose(fake_quantize(held, found), held, rtol=1e-6)


def test_layers_whose_grid_cannot_be_found_again_are_named():
    model = quantized(toys.conv_chain(), weight_range="minmax").copy()
    first = next(layers(model.graph))
    encoding = model.encodings[first.weight.name]
    weight = np.array(constant(first.weight))
    assert spans_grid(weight, encoding)
    held = np.clip(weight, -0.5 * encoding.high[0], 0.5 * encoding.high[0])
    weight[0] = fake_quantize(np.broadcast_to(held, weight.shape), encoding)[0]
    set_constant(first.weight, weight)
    assert not spans_grid(weight, encoding)
    assert spans_grid(np.zeros_like(weight), encoding)
    assert float_network(model).loose == (first.name,)


def test_a_picture_that_a_transpose_turns_comes_in_turned():
    net = Net("turned")
    x = net.op("Transpose", net.input("image", 6, 8, 3), perm=[0, 3, 1, 2])
    net.output(net.op("Relu", net.conv(x, 3, 4)), 4, 6, 8)
    model = quantized(net.build(), weight_range="minmax", bias_correction=False)
    network = float_network(model)
    (handed,) = network.inputs
    assert (handed.shape, handed.channels_last) == ((1, 3, 6, 8), True)
    assert "Transpose" not in {node.op_type for node in network.network.graph}
    inputs = toys.calibration(model, 2, seed=5).inputs
    before = Session(model.at(Stage.OPTIMIZED).network, threads=1).run(inputs)
    turned = {"image": np.moveaxis(inputs["image"], -1, 1)}
    (after,) = Session(to_onnx(network.network), threads=1).run(turned).values()
    np.testing.assert_allclose(after, next(iter(before.values())), rtol=1e-5, atol=1e-5)


def test_names_are_made_plain_and_stay_apart():
    net = Net("named")
    x = net.op("Relu", net.conv(net.input("in put:0", 3, 6, 6), 3, 4), name="a:b")
    net.output(net.op("Relu", net.conv(x, 4, 4), name="a_b"), 4, 6, 6)
    network = float_network(quantized(net.build()))
    assert network.inputs[0].name == "in_put_0"
    assert network.inputs[0].source == "in put:0"
    assert (network.nodes["a:b"], network.nodes["a_b"]) == ("a_b_1", "a_b")
    assert network.end_nodes == ("a_b",)
    names = [node.name for node in network.network.graph]
    assert len(set(names)) == len(names)


def test_outputs_of_one_node_are_refused_by_name():
    net = Net("doubled")
    for part in net.split(net.op("Relu", net.conv(net.input("x", 3, 6, 6), 3, 4)), 2):
        net.output(part, 2, 6, 6)
    with pytest.raises(TargetError, match="has no node of its own") as caught:
        float_network(quantized(net.build()))
    assert "--end-node-names" in caught.value.hint


def test_the_same_model_gives_the_same_bytes():
    model = quantized(toys.residual())
    assert to_onnx(float_network(model).network) == to_onnx(float_network(model).network)
