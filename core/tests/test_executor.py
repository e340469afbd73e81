"""Emulator and integer executor agree, op by op, on every toy network and on ResNet20."""

import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.onnx_frontend import OnnxFrontend
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.data import ArrayDataset
from fewbits.emulate import to_qdq
from fewbits.errors import ModelError
from fewbits.executor import Executor
from fewbits.interfaces import Context
from fewbits.model import Model
from fewbits.runtime import Session
from fewbits.testing.net import Net
from fewbits.testing.toys import TOYS, calibration

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
RESNET = SHARED / "models" / "resnet20_cifar10_bn.onnx"


def quantized(model: Model, precision="a8_w8", data=None, **options) -> Model:
    """Return the model quantized from a few samples."""
    context = Context(target=CpuTarget(), calibration=data or calibration(model))
    chosen = UniformOptions(precision=precision, **options)
    return UniformQuantizer(chosen).apply(model, context).model


def emulated(model: Model, inputs) -> tuple[dict, dict]:
    """Return the emulator's outputs, and the integers of the model's encoded tensors by name."""
    network = to_qdq(model)
    for node in list(network.graph):
        if node.op_type == "QuantizeLinear":
            zero_point = node.inputs[2]
            node.outputs[0].type = ir.TensorType(zero_point.dtype)
            network.graph.outputs.append(node.outputs[0])
    found = Session(network).run(inputs)
    outputs = {name: found[name] for name in model.output_names}
    taps = {k.removesuffix(".quantized"): v for k, v in found.items() if k.endswith(".quantized")}
    return outputs, {k: v.astype(np.int64) for k, v in taps.items() if k in model.encodings}


def encoded(model: Model) -> set[str]:
    """Name the encoded tensors that are computed or come in."""
    computed = chain.from_iterable(node.outputs for node in model.graph)
    return {*model.input_names, *(str(v.name) for v in computed)} & set(model.encodings)


def differences(model: Model, inputs) -> Mapping[str, int]:
    """Return the largest difference of each tensor, each op fed with the emulator's integers."""
    _, integers = emulated(model, inputs)
    assert set(integers) == encoded(model)
    found = Executor(model).trace(inputs, given=integers)
    return {name: int(np.abs(found[name] - held).max(initial=0)) for name, held in integers.items()}


def samples(model: Model, count=16, seed=1) -> dict:
    return dict(calibration(model, count, seed).inputs)


@pytest.mark.parametrize("weights", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("precision", ["a8_w8", "a8_w4", "a16_w8", "a16_w16"])
@pytest.mark.parametrize("toy", TOYS)
def test_every_op_is_within_one_step_of_the_emulators(toy, precision, weights):
    model = quantized(TOYS[toy](), precision, weights=weights, activation_range="minmax")
    found = differences(model, samples(model))
    assert found
    assert max(found.values()) <= 1


@pytest.mark.parametrize("toy", TOYS)
def test_eight_bit_outputs_are_within_one_step_of_the_emulators(toy):
    model = quantized(TOYS[toy]())
    inputs = samples(model)
    outputs, _ = emulated(model, inputs)
    for name, found in Executor(model).run(inputs).items():
        encoding = model.encodings.get(name)
        step = 1e-3 if encoding is None else float(encoding.scale)
        np.testing.assert_allclose(found, outputs[name], rtol=0, atol=1.01 * step)


@pytest.mark.parametrize("toy", TOYS)
def test_eight_bit_layers_are_the_emulators_to_the_bit(toy):
    model = quantized(TOYS[toy]())
    found = differences(model, samples(model))
    layers = {
        name: error
        for name, error in found.items()
        if name in model.input_names or name.startswith(("conv", "gemm", "matmul"))
    }
    assert layers == dict.fromkeys(layers, 0)


def test_the_trace_holds_integers_where_there_are_encodings():
    model = quantized(TOYS["softmax"]())
    found = Executor(model).trace(samples(model))
    assert encoded(model) <= set(found)
    assert all((found[name].dtype == np.int64) == (name in model.encodings) for name in found)


def pooled(**attributes) -> Model:
    net = Net("pooled")
    x = net.op("AveragePool", net.conv(net.input("image", 3, 9, 9), 3, 4), **attributes)
    net.output(net.conv(x, 4, 2, 1), 2, "h", "w")
    return net.build()


PADS = [[0, 0, 0, 0], [1, 1, 0, 1], [0, 1, 1, 0], [1, 1, 1, 1]]


@pytest.mark.parametrize("precision", ["a8_w8", "a16_w8"])
@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("pads", PADS, ids=str)
@pytest.mark.parametrize("stride", [2, 3])
def test_average_pools_of_every_kind_agree(stride, pads, ceil, include, precision):
    kind = {"count_include_pad": include, "ceil_mode": ceil, "strides": [stride, stride]}
    model = quantized(pooled(kernel_shape=[3, 3], pads=pads, **kind), precision)
    assert max(differences(model, samples(model)).values()) <= 1


def gemm_of(transposed: bool, activation: str) -> Model:
    net = Net("gemm_of")
    x = net.input("features", 32)
    for place in range(2):
        shape = (16, 32) if transposed else (32, 16)
        if place:
            shape = (6, 16) if transposed else (16, 6)
        weight = net.normal(shape, 32)
        x = net.op(
            "Gemm", x, weight, net.bias(shape[not transposed], f"b{place}"), transB=int(transposed)
        )
        x = net.op(activation, x)
    net.output(x, 6)
    return net.build()


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid", "Softmax"])
@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("precision", ["a8_w8", "a16_w4", "a16_w8"])
def test_matrix_products_keep_the_bits_of_their_activations(transposed, activation, precision):
    model = quantized(gemm_of(transposed, activation), precision)
    assert max(differences(model, samples(model, 64)).values()) <= 1


def conv_transpose(groups: int, **attributes) -> Model:
    net = Net("conv_transpose")
    x = net.op("Relu", net.conv(net.input("image", 3, 6, 6), 3, 8))
    weight = net.normal((8, 6 // groups, 3, 3), 8)
    x = net.op("ConvTranspose", x, weight, net.bias(6, "bias"), group=groups, **attributes)
    net.output(net.conv(x, 6, 2), 2, "h", "w")
    return net.build()


def volume() -> Model:
    net = Net("volume")
    x = net.op("Relu", net.conv(net.input("image", 2, 5, 5, 5), 2, 4, (3, 3, 3)))
    net.output(net.conv(x, 4, 2, (3, 3, 3), pads=[0] * 6), 2, 3, 3, 3)
    return net.build()


def auto_padded(mode: str) -> Model:
    net = Net("auto_padded")
    weight = net.normal((4, 3, 3, 3), 27)
    x = net.op("Conv", net.input("image", 3, 9, 8), weight, auto_pad=mode, strides=[2, 2])
    net.output(net.conv(x, 4, 2), 2, "h", "w")
    return net.build()


def biased(shape: tuple[int, ...]) -> Model:
    net = Net("biased")
    x = net.op("Relu", net.gemm(net.input("features", 8), 8, 8))
    weight, bias = net.normal((8, 6), 8), net.normal(shape, 1, name="bias")
    net.output(net.op("Relu", net.op("Gemm", x, weight, bias)), 6)
    return net.build()


def attention() -> Model:
    net = Net("attention")
    x = net.op("MatMul", net.input("tokens", 6, 8), net.normal((8, 8), 8))
    gain, shift = net.constant(np.ones(8, np.float32)), net.constant(np.zeros(8, np.float32))
    x = net.op("LayerNormalization", x, gain, shift)
    shares = net.op("Softmax", net.op("MatMul", x, net.op("Transpose", x, perm=[0, 2, 1])))
    net.output(net.op("MatMul", net.op("MatMul", shares, x), net.normal((8, 3), 8)), 6, 3)
    return net.build()


def stretched() -> Model:
    net = Net("stretched")
    x = net.conv(net.input("image", 3, 8, 8), 3, 6)
    x = net.op("Resize", x, "", net.constant([1.0, 1.0, 2.0, 2.0]), mode="linear")
    net.output(net.conv(x, 6, 2), 2, 16, 16)
    return net.build()


def with_constants() -> Model:
    net = Net("with_constants")
    x = net.conv(net.input("image", 3, 8, 8), 3, 4)
    x = net.op("Mul", x, net.normal((4, 1, 1), 1))
    net.output(net.op("Sub", net.constant(np.ones((4, 1, 1), np.float32)), x), 4, 8, 8)
    return net.build()


def gathered() -> Model:
    net = Net("gathered")
    x = net.op("Transpose", net.input("image", 8, 8, 3), perm=[0, 3, 1, 2])
    x = net.op("Relu", net.conv(x, 3, 4))
    x = net.op("Gather", x, net.constant(np.array([3, 1, 0], np.int64)), axis=1)
    net.output(net.op("Concat", x, x, axis=1), 6, 8, 8)
    return net.build()


EDGES = {
    "conv_transpose": lambda: conv_transpose(1, strides=[2, 2]),
    "conv_transpose_grouped": lambda: conv_transpose(
        2, strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]
    ),
    "conv_3d": volume,
    "same_upper": lambda: auto_padded("SAME_UPPER"),
    "same_lower": lambda: auto_padded("SAME_LOWER"),
    "valid": lambda: auto_padded("VALID"),
    "bias_row": lambda: biased((1, 6)),
    "bias_scalar": lambda: biased(()),
    "bias_one": lambda: biased((1,)),
    "attention": attention,
    "resize_linear": stretched,
    "constants": with_constants,
    "gather": gathered,
}


@pytest.mark.parametrize("weights", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("precision", ["a8_w8", "a16_w8"])
@pytest.mark.parametrize("edge", EDGES)
def test_rarer_ops_agree(edge, precision, weights):
    model = quantized(EDGES[edge](), precision, weights=weights)
    assert max(differences(model, samples(model)).values()) <= 1


def test_a_max_pools_indices_stay_what_they_are():
    base = conv_transpose(1)
    network = base.network.clone()
    conv = network.graph[0].outputs[0]
    pool = ir.node("MaxPool", [conv], {"kernel_shape": [2, 2]}, num_outputs=2, name="pool")
    pool.outputs[0].type, pool.outputs[1].type = conv.type, ir.TensorType(ir.DataType.INT64)
    pool.outputs[0].name, pool.outputs[1].name = "pooled", "indices"
    network.graph.insert_after(network.graph[0], pool)
    network.graph.outputs.extend(pool.outputs)
    model = quantized(base.replace(network=network))
    assert "indices" not in model.encodings
    outputs, _ = emulated(model, samples(model))
    assert outputs["indices"].dtype == np.int64
    assert outputs["indices"].max() >= 256
    with pytest.raises(ModelError, match="'pool' writes indices"):
        Executor(model).run(samples(model))


def cifar(key: str, count: int):
    with np.load(SHARED / "data" / "cifar10_jpeg.npz") as held:
        images = held[key][:count].astype(np.float32)
    entries = json.loads((SHARED / "models" / "models.json").read_text())
    said = entries["resnet20_cifar10"]["input"]
    mean, std = (np.float32(said[k]) for k in ("mean", "std"))
    return np.ascontiguousarray(((images - mean) / std).transpose(0, 3, 1, 2))


@pytest.mark.slow
@pytest.mark.skipif(not RESNET.exists(), reason="the shared networks are not here")
@pytest.mark.parametrize(
    ("precision", "count", "agreeing"),
    [("a8_w8", 320, 320), ("a8_w4", 128, 127), ("a16_w8", 64, 64)],
)
def test_resnet20_agrees_op_by_op_and_in_top_1(precision, count, agreeing):
    parsed = OnnxFrontend().parse(RESNET)
    (entry,) = parsed.input_names
    model = quantized(parsed, precision, ArrayDataset({entry: cifar("calib_images", 64)}))
    executor, images, same = Executor(model), cifar("images", count), 0
    for start in range(0, count, 64):
        inputs = {entry: images[start : start + 64]}
        outputs, integers = emulated(model, inputs)
        if start == 0:
            found = executor.trace(inputs, given=integers)
            assert max(int(np.abs(found[k] - v).max()) for k, v in integers.items()) <= 1
        (expected,) = outputs.values()
        (logits,) = executor.run(inputs).values()
        same += int((logits.argmax(1) == expected.argmax(1)).sum())
    assert same >= agreeing
