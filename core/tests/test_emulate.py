"""The QDQ writer: what it keeps, what it drops, and what ONNX Runtime makes of it."""

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from fewbits import archive
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.emulate import storage_type, to_qdq
from fewbits.errors import ModelError
from fewbits.graph import add_constant
from fewbits.interfaces import Context
from fewbits.model import Encoding, Model, Stage
from fewbits.runtime import Session
from fewbits.testing.net import Net
from fewbits.testing.toys import SIDE, TOYS, calibration


def quantized(model: Model, precision="a8_w8", **options) -> Model:
    context = Context(target=CpuTarget(), calibration=calibration(model))
    chosen = UniformOptions(precision=precision, **options)
    return UniformQuantizer(chosen).apply(model, context).model


def ops(network: ir.Model) -> Counter:
    return Counter(node.op_type for node in network.graph)


def fused_ops(network: ir.Model, path) -> Counter:
    """Return the ops of the graph that ONNX Runtime really runs."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(path)
    ort.InferenceSession(ir.to_proto(network).SerializeToString(), options)
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def integers(network: ir.Model, name: str):
    """Return the stored integers of a constant."""
    return network.graph.initializers[f"{name}.quantized"].const_value.numpy()


def clipped(low: float, high: float) -> Model:
    """Return Conv, Clip, Conv."""
    net = Net("clipped")
    x = net.conv(net.input("image", 3, SIDE, SIDE), 3, 8)
    bounds = (net.constant(np.asarray(bound, np.float32)) for bound in (low, high))
    net.output(net.conv(net.op("Clip", x, *bounds, name="clip"), 8, 4, 1), 4, SIDE, SIDE)
    return net.build()


def with_range(model: Model, name: str, low: float, high: float) -> Model:
    """Return a quantized model with another 8-bit range for one tensor."""
    scale = np.float32((high - low) / 255)
    encoding = Encoding(8, False, scale, np.int64(np.rint(-low / scale)))
    return model.replace(encodings={**model.encodings, name: encoding})


@pytest.mark.parametrize(
    ("low", "high", "kept"), [(0.0, 3.0, 0), (0.0, 2.5, 0), (0.0, 4.0, 1), (-1.0, 3.0, 1)]
)
def test_a_clip_stays_unless_the_encoding_implies_it(low, high, kept):
    model = with_range(quantized(clipped(0.0, 3.0)), "clip_out", low, high)
    network = to_qdq(model)
    assert ops(network)["Clip"] == kept
    found = outputs_at(network, "clip_out.dequantized", model)
    expected = outputs_at(model.network.clone(), "clip_out", model)
    encoding = model.encodings["clip_out"]
    assert np.abs(found - expected.clip(encoding.low, encoding.high)).max() < 0.1
    assert found.min() == 0.0
    assert found.max() <= 3.0 + encoding.scale / 2


def outputs_at(network: ir.Model, name: str, model: Model):
    """Return what some tensor holds."""
    network.graph.outputs.append(value(network, name))
    return Session(network).run(dict(calibration(model, 8).inputs))[name]


def value(network: ir.Model, name: str) -> ir.Value:
    return next(v for node in network.graph for v in node.outputs if v.name == name)


@pytest.mark.parametrize(("low", "kept"), [(0.0, 0), (-1.0, 1)])
def test_a_relu_stays_unless_the_encoding_implies_it(low, kept):
    model = quantized(TOYS["gemm"]())
    (relu,) = (node for node in model.graph if node.op_type == "Relu")
    network = to_qdq(with_range(model, str(relu.outputs[0].name), low, 3.0))
    assert ops(network)["Relu"] == kept


def test_a_relu_that_reads_an_input_stays():
    net = Net("relu_first")
    x = net.op("Relu", net.input("image", 3, SIDE, SIDE))
    net.output(net.conv(x, 3, 4), 4, SIDE, SIDE)
    model = quantized(net.build())
    assert [v.name for v in to_qdq(model).graph.inputs] == ["image"]
    CpuTarget().emulator(model).run(dict(calibration(model, 2).inputs))


def test_a_relu_beside_another_reader_stays():
    net = Net("forked")
    x = net.conv(net.input("image", 3, SIDE, SIDE), 3, 4)
    net.output(net.op("Add", net.op("Relu", x), x), 4, SIDE, SIDE)
    assert ops(to_qdq(quantized(net.build())))["Relu"] == 1


@pytest.mark.parametrize("toy", TOYS)
def test_inputs_and_outputs_keep_names_shapes_and_types(toy):
    model = quantized(TOYS[toy]())
    network = to_qdq(model)
    for ours, theirs in (
        (model.graph.inputs, network.graph.inputs),
        (model.graph.outputs, network.graph.outputs),
    ):
        assert [(v.name, v.shape, v.dtype) for v in ours] == [
            (v.name, v.shape, v.dtype) for v in theirs
        ]
    onnx.checker.check_model(ir.to_proto(network), full_check=True)


@pytest.mark.parametrize("toy", TOYS)
def test_the_model_is_not_changed(toy):
    model = quantized(TOYS[toy]())
    before = archive.digest(model)
    to_qdq(model, unsigned_weights=True)
    assert archive.digest(model) == before


@pytest.mark.parametrize("toy", ["conv_chain", "se_block", "gemm", "pooling"])
@pytest.mark.parametrize("precision", ["a8_w8", "a16_w8"])
def test_the_archive_changes_nothing_in_the_compiled_file(toy, precision, tmp_path):
    model = quantized(TOYS[toy](), precision)
    archive.write(model, tmp_path / "m.fewbits")
    back = archive.read(tmp_path / "m.fewbits")
    assert CpuTarget().compile(back) == CpuTarget().compile(model)
    inputs = dict(calibration(model, 4).inputs)
    ours, theirs = (CpuTarget().emulator(m).run(inputs) for m in (model, back))
    for name, array in ours.items():
        np.testing.assert_array_equal(theirs[name], array)


def test_scales_of_whole_tensors_are_scalars():
    # ONNX Runtime's QLinearAveragePool refuses vectors of one element
    for node in to_qdq(quantized(TOYS["pooling"](), weights="per_tensor")).graph:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert [v.const_value.shape for v in node.inputs[1:]] == [ir.Shape([])] * 2


def test_names_that_the_writer_might_invent_may_be_taken():
    net = Net("val")
    x = net.op("Relu", net.conv(net.input("val_0", 3, SIDE, SIDE), 3, 4), name="val")
    net.output(net.op("Add", net.conv(x, 4, 4), x), 4, SIDE, SIDE)
    model = net.build()
    for number, node in enumerate(model.graph, start=1):
        node.outputs[0].name = f"val_{number}"
    network = to_qdq(quantized(model))
    names = [v.name for node in network.graph for v in node.outputs]
    assert len(names) == len(set(names))
    Session(network).run({"val_0": np.zeros((1, 3, SIDE, SIDE), np.float32)})


def weights_of(model: Model) -> list[str]:
    return [
        str(node.inputs[1].name)
        for node in model.graph
        if node.op_type in ("Conv", "Gemm", "MatMul", "ConvTranspose")
    ]


@pytest.mark.parametrize("toy", TOYS)
def test_four_bit_weights_travel_as_bytes_within_seven(toy):
    model = quantized(TOYS[toy](), "a8_w4")
    network = to_qdq(model)
    for name in weights_of(model):
        stored = integers(network, name)
        assert stored.dtype == np.int8
        assert np.abs(stored).max() <= 7
        assert len(np.unique(stored)) > 3


@pytest.mark.parametrize("toy", TOYS)
@pytest.mark.parametrize("precision", ["a8_w8", "a8_w4"])
def test_unsigned_weights_give_the_same_integers(toy, precision):
    model = quantized(TOYS[toy](), precision)
    plain, unsigned = to_qdq(model), to_qdq(model, unsigned_weights=True)
    for name in weights_of(model):
        np.testing.assert_array_equal(
            integers(unsigned, name).astype(int) - 128, integers(plain, name)
        )
    inputs = dict(calibration(model, 8).inputs)
    found, expected = Session(unsigned).run(inputs), Session(plain).run(inputs)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("precision", ["a8_w8", "a16_w8", "a16_w16"])
def test_biases_are_exact_at_any_width(precision):
    model = quantized(TOYS["conv_chain"](), precision)
    network = to_qdq(model)
    biases = [str(node.inputs[2].name) for node in model.graph if node.op_type == "Conv"]
    assert biases
    for name in biases:
        network.graph.outputs.append(value(network, f"{name}.dequantized"))
    found = Session(network).run({"image": np.zeros((1, 3, SIDE, SIDE), np.float32)})
    for name in biases:
        expected = model.graph.initializers[name].const_value.numpy()
        assert integers(network, name).dtype == np.int32
        np.testing.assert_array_equal(found[f"{name}.dequantized"], expected)


def test_one_constant_read_twice_is_stored_once():
    model = TOYS["shared_weights"]()
    encoding = Encoding(8, True, np.float32(0.01), np.int64(0), narrow=True)
    network = to_qdq(model.advance(Stage.QUANTIZED, encodings={"shared": encoding}))
    assert ops(network)["DequantizeLinear"] == 1
    (stored,) = (node for node in network.graph if node.op_type == "DequantizeLinear")
    assert len(stored.outputs[0].uses()) == 2
    assert "shared" not in network.graph.initializers


def test_an_output_that_is_also_read_is_given_quantized_to_both():
    net = Net("tapped")
    x = net.op("Relu", net.conv(net.input("image", 3, SIDE, SIDE), 3, 4), name="tap")
    net.output(x, 4, SIDE, SIDE)
    net.output(net.conv(x, 4, 2), 2, SIDE, SIDE)
    model = quantized(net.build())
    network = to_qdq(model)
    assert [v.name for v in network.graph.outputs] == ["tap_out", "conv_2_out"]
    readers = {use.node.name for use in value(network, "tap_out").uses()}
    assert readers == {"conv_2"}
    found = Session(network).run(dict(calibration(model, 2).inputs))["tap_out"]
    encoding = model.encodings["tap_out"]
    steps = found.astype(np.float64) / np.float64(encoding.scale)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)


def test_only_a_quantized_model_can_be_written():
    with pytest.raises(ModelError, match="parsed, not quantized"):
        to_qdq(TOYS["gemm"]())


@pytest.mark.parametrize(
    ("bits", "signed", "expected"),
    [(4, True, np.int8), (8, False, np.uint8), (16, False, np.uint16), (32, True, np.int32)],
)
def test_the_type_that_holds_an_encoding(bits, signed, expected):
    encoding = Encoding(bits, signed, np.float32(1), np.int64(0))
    assert storage_type(encoding) == np.dtype(expected)


FUSED = {
    "conv_chain": {"QLinearConv": 3},
    "depthwise": {"QLinearConv": 3},
    "residual": {"QLinearConv": 4, "QLinearAdd": 1},
    "concat": {"QLinearConv": 4, "QLinearConcat": 1},
    "se_block": {"QLinearConv": 4, "QLinearMul": 1, "QLinearGlobalAveragePool": 1},
    "strided": {"QLinearConv": 3},
    "pooling": {"QLinearConv": 3, "QLinearAveragePool": 1, "NhwcMaxPool": 1},
    "gemm": {"QGemm": 2},
}


@pytest.mark.parametrize("precision", ["a8_w8", "a8_w4"])
@pytest.mark.parametrize(("toy", "expected"), FUSED.items())
def test_onnxruntime_fuses_every_layer_into_its_integer_kernel(toy, expected, precision, tmp_path):
    found = fused_ops(to_qdq(quantized(TOYS[toy](), precision)), tmp_path / "fused.onnx")
    assert {name: found[name] for name in expected} == expected
    assert not {"Conv", "FusedConv", "Gemm", "MatMul", "Relu", "Clip", "Add", "Mul"} & set(found)


@pytest.mark.parametrize("toy", ["gemm", "matmul"])
@pytest.mark.parametrize("precision", ["a16_w8", "a16_w4"])
def test_onnxruntime_leaves_products_of_16_bit_activations_in_float(toy, precision, tmp_path):
    found = fused_ops(to_qdq(quantized(TOYS[toy](), precision)), tmp_path / "fused.onnx")
    assert "MatMulNBits" not in found
    assert found["Gemm"] + found["MatMul"] == 2


def test_adding_a_scalar_keeps_it_a_scalar():
    graph = TOYS["gemm"]().network.clone().graph
    for scalar in (np.float32(2), np.asarray(2, np.float32)):
        held = add_constant(graph, f"scalar_{type(scalar).__name__}", scalar)
        assert held.const_value.numpy().shape == ()
