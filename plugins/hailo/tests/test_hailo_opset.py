"""Networks said in opset 17 compute what they computed in fewbits' own opset."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from fewbits.errors import TargetError
from fewbits.runtime import Session
from fewbits.testing import Net, toys
from fewbits_hailo.opset import OPSET, lower_opset

RNG = np.random.default_rng(0)
_DILATED = {"kernel_shape": [2, 2], "dilations": [2, 2], "pads": [1, 1, 1, 1]}


def _lowered(model):
    network = model.copy().network
    lower_opset(network)
    proto = ir.to_proto(network)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _assert_same(model, samples=3):
    proto = _lowered(model)
    assert proto.opset_import[0].version == OPSET
    inputs = toys.calibration(model, samples, seed=4).inputs
    before = Session(model.network, threads=1).run(inputs)
    after = Session(proto.SerializeToString(), threads=1).run(inputs)
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("toy", toys.TOYS)
def test_every_toy_computes_the_same(toy):
    _assert_same(toys.TOYS[toy]())


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd"])
def test_axes_of_reductions_become_attributes(op):
    net = Net("reduced")
    axes = net.constant(np.asarray([2, -1], np.int64))
    net.output(net.op(op, net.input("x", 3, 4, 4), axes, keepdims=0), 3)
    model = net.build()
    _assert_same(model)
    assert len(_lowered(model).graph.node[0].input) == 1


def test_parts_of_unequal_size_are_written_out():
    net = Net("parts")
    x = net.input("x", 5, 4, 4)
    for size, part in zip((2, 2, 1), net.split(x, 3), strict=True):
        net.output(net.op("Relu", part), size, 4, 4)
    model = net.build()
    split = next(node for node in model.graph if node.op_type == "Split")
    for size, value in zip((2, 2, 1), split.outputs, strict=True):
        value.shape = ir.Shape(["N", size, 4, 4])
    _assert_same(model)


@pytest.mark.parametrize("axes", [[2, 3], [-1], [1, -1]])
def test_pads_of_some_axes_become_pads_of_all(axes):
    net = Net("padded")
    pads = net.constant(RNG.integers(0, 3, 2 * len(axes)).astype(np.int64))
    held = [pads, net.constant(np.asarray(0.5, np.float32)), net.constant(np.asarray(axes))]
    x = net.op("Pad", net.op("Relu", net.input("x", 3, 4, 4)), *held)
    net.output(x, "C", "H", "W")
    _assert_same(net.build())


@pytest.mark.parametrize("op", ["Gelu", "Mish"])
def test_functions_of_later_opsets_are_written_out(op):
    net = Net("function")
    x = net.op(op, net.conv(net.input("x", 3, 6, 6), 3, 4))
    net.output(net.op(op, net.conv(x, 4, 4)), 4, 6, 6)
    model = net.build()
    _assert_same(model)
    assert op not in {node.op_type for node in _lowered(model).graph.node}


def test_defaults_that_opset_17_has_no_word_for_are_dropped():
    net = Net("defaults")
    x = net.op("AveragePool", net.input("x", 3, 8, 8), kernel_shape=[2, 2], dilations=[1, 1])
    scales = net.constant([1.0, 1.0, 2.0, 2.0])
    x = net.op(
        "Resize", x, "", scales, mode="nearest", antialias=0, keep_aspect_ratio_policy="stretch"
    )
    net.output(x, 3, 14, 14)
    _assert_same(net.build())


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "word"),
    [
        ("AveragePool", 1, _DILATED, "dilations"),
        ("Gelu", 1, {"approximate": "tanh"}, "tanh"),
        ("GroupNormalization", 3, {"num_groups": 1}, "newer"),
        ("ReduceMax", 1, {"noop_with_empty_axes": 1}, "reduces nothing"),
    ],
)
def test_what_opset_17_cannot_say_is_refused_by_name(op, inputs, attributes, word):
    net = Net("refused")
    more = [net.constant([1.0, 1.0, 1.0]) for _ in range(inputs - 1)]
    net.output(net.op(op, net.input("x", 3, 8, 8), *more, name="odd", **attributes), 3, 8, 8)
    network = net.build().network
    with pytest.raises(TargetError, match=f"{op} 'odd'.*{word}") as caught:
        lower_opset(network)
    assert "opset_version=17" in caught.value.hint
