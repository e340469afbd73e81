from dataclasses import replace

import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.placement import place, resolve, unary_roots
from fewbits.testing import toys
from fewbits.testing.net import Net
from onnx import TensorProto, helper

SPEC = CpuTarget.spec

# own: a range of its own, decided by the node in brackets; keeps: another tensor's encoding;
# float: a node that has no integer kernel.
GOLDEN = {
    "conv_chain": "own image, relu_1_out [conv_0], clip_3_out [conv_2], conv_4_out [conv_4]",
    "depthwise": "own image, clip_1_out [conv_0], clip_3_out [conv_2], conv_4_out [conv_4]",
    "residual": """
        own image, relu_1_out [conv_0], relu_3_out [conv_2], conv_4_out [conv_4],
            relu_6_out [add_5], conv_7_out [conv_7]""",
    "concat": """
        own image, relu_1_out [conv_0], relu_3_out [conv_2], clip_5_out [conv_4],
            concat_6_out [concat_6], conv_7_out [conv_7]""",
    "se_block": """
        own image, relu_1_out [conv_0], globalaveragepool_2_out [globalaveragepool_2],
            relu_4_out [conv_3], conv_5_out [conv_5], sigmoid_6_out [sigmoid_6],
            mul_7_out [mul_7], conv_8_out [conv_8]""",
    "gemm": """
        own flatten_0_out [flatten_0], relu_2_out [gemm_1]
        float flatten_0""",
    "two_inputs": """
        own left, right, relu_1_out [conv_0], relu_3_out [conv_2], add_4_out [add_4],
            conv_5_out [conv_5]""",
    "two_outputs": """
        own image, relu_1_out [conv_0], conv_2_out [conv_2],
            globalaveragepool_3_out [globalaveragepool_3]
        keeps flatten_4_out of globalaveragepool_3_out""",
    "pooling": """
        own image, relu_1_out [conv_0], conv_3_out [conv_3], averagepool_4_out [averagepool_4],
            conv_5_out [conv_5]
        keeps maxpool_2_out of relu_1_out""",
    "strided": "own image, relu_1_out [conv_0], relu_3_out [conv_2], conv_4_out [conv_4]",
    "leaky": """
        own image, conv_0_out [conv_0], leakyrelu_1_out [leakyrelu_1], conv_2_out [conv_2],
            prelu_3_out [prelu_3], conv_4_out [conv_4]""",
    "conv_transpose": "own image, relu_1_out [conv_0], relu_3_out [up], conv_4_out [conv_4]",
    "matmul": "own tokens, matmul_0_out [matmul_0], relu_2_out [relu_2], matmul_3_out [matmul_3]",
    "softmax": """
        own image, relu_1_out [conv_0], gemm_4_out [gemm_4]
        keeps maxpool_2_out of relu_1_out
        keeps flatten_3_out of maxpool_2_out
        float softmax_5""",
    "hard_swish": """
        own image, conv_0_out [conv_0], hardswish_1_out [hardswish_1], conv_2_out [conv_2],
            hardswish_3_out [hardswish_3], conv_4_out [conv_4]""",
    "silu": """
        own image, conv_0_out [conv_0], mul_2_out [mul_2], conv_3_out [conv_3],
            mul_5_out [mul_5], conv_6_out [conv_6]""",
    "se_hard_sigmoid": """
        own image, relu_1_out [conv_0], globalaveragepool_2_out [globalaveragepool_2],
            relu_4_out [conv_3], conv_5_out [conv_5], hardsigmoid_6_out [hardsigmoid_6],
            mul_7_out [mul_7], conv_8_out [conv_8]""",
    "sliced_shortcut": """
        own image, relu_1_out [conv_0], pad_3_out [pad_3], relu_5_out [conv_4],
            conv_6_out [conv_6], relu_8_out [add_7], conv_9_out [conv_9]
        keeps slice_2_out of relu_1_out
        float pad_3""",
    "channel_shuffle": """
        own image, relu_1_out [conv_0], relu_3_out [conv_2], conv_7_out [conv_7]
        keeps reshape_4_out of relu_3_out
        keeps transpose_5_out of reshape_4_out
        keeps reshape_6_out of transpose_5_out""",
    "resize": """
        own image, relu_1_out [conv_0], mul_3_out [mul_3], resize_4_out [resize_4],
            conv_5_out [conv_5]
        keeps split_2_out0 of relu_1_out
        keeps split_2_out1 of relu_1_out
        float resize_4""",
    "shared_weights": """
        own image, relu_1_out [conv_0], relu_3_out [conv_2], relu_5_out [conv_4],
            conv_6_out [conv_6]""",
    "conv1d": """
        own signal, relu_1_out [conv_0], relu_3_out [conv_2], reducemean_4_out [reducemean_4]
        float reducemean_4""",
}


def _text(placement):
    own = [n if node is None else f"{n} [{node.name}]" for n, node in placement.own.items()]
    lines = ["own " + ", ".join(own)]
    lines += [f"keeps {name} of {source}" for name, source in placement.inherited.items()]
    lines += [f"float {node.name}" for node in placement.float_nodes]
    return "\n".join(lines)


def _words(text):
    return " ".join(text.split())


def test_every_toy_has_a_golden_placement():
    assert set(GOLDEN) == set(toys.TOYS)


@pytest.mark.parametrize("toy", sorted(GOLDEN))
def test_the_tensors_of_a_toy_are_placed_as_written_here(toy):
    assert _words(_text(place(toys.TOYS[toy]().graph, SPEC))) == _words(GOLDEN[toy])


@pytest.mark.parametrize("toy", sorted(toys.TOYS))
def test_every_layer_reads_integers_and_nothing_has_two_encodings(toy):
    graph = toys.TOYS[toy]().graph
    placement, chains = place(graph, SPEC), unary_roots(graph, SPEC.unary_ops)
    assert not placement.own.keys() & placement.inherited.keys()
    for node in graph:
        integer = node.op_type in SPEC.weighted_ops | SPEC.quantized_ops
        if integer and node.outputs[0] not in chains:
            data = [v for v in node.inputs if v is not None and v.const_value is None]
            assert all(placement.holds(value) for value in data)


def _after_conv(build):
    """A convolution, what `build` adds behind it, and a convolution."""
    net = Net("after")
    x = build(net, net.conv(net.input("x", 3, 6, 6), 3, 4))
    net.output(net.conv(x, 4, 2, 1), 2, 6, 6)
    return net.build().graph


def _hard_swish(net, x):
    """x · clip(x + 3, 0, 6) / 6, as exporters write it."""
    three, six, zero = (net.constant(np.asarray(c, np.float32)) for c in (3.0, 6.0, 0.0))
    gate = net.op("Clip", net.op("Add", x, three), zero, six)
    return net.op("Div", net.op("Mul", x, gate), six, name="end")


def test_of_a_chain_that_depends_on_one_tensor_only_the_end_is_encoded():
    placement = place(_after_conv(_hard_swish), SPEC)
    assert set(placement.own) == {"x", "conv_0_out", "end_out", "conv_5_out"}
    assert not placement.float_nodes


def test_a_chain_goes_back_to_the_one_tensor_it_depends_on():
    graph = _after_conv(_hard_swish)
    roots = unary_roots(graph, SPEC.unary_ops)
    chain = ("add_1_out", "clip_2_out", "mul_3_out", "end_out")
    found = {str(v.name): str(root.name) for v, root in roots.items()}
    assert found == dict.fromkeys(chain, "conv_0_out")


def test_a_product_of_two_tensors_is_no_chain():
    graph = toys.se_block().graph
    roots = {str(v.name) for v in unary_roots(graph, SPEC.unary_ops)}
    assert "sigmoid_6_out" in roots
    assert "mul_7_out" not in roots


@pytest.mark.parametrize(
    ("low", "high", "fused"), [(0.0, 6.0, True), (-1.0, 1.0, True), (0.5, 6.0, False)]
)
def test_a_clip_is_fused_where_zero_lies_in_it(low, high, fused):
    def clip(net, x):
        bounds = [net.constant(np.asarray(b, np.float32)) for b in (low, high)]
        return net.op("Clip", x, *bounds, name="clip")

    assert ("conv_0_out" in place(_after_conv(clip), SPEC).own) is not fused


def test_a_relu_whose_input_has_another_reader_is_not_fused():
    def build(net, x):
        return net.op("Add", x, net.op("Relu", x, name="r"), name="sum")

    placement = place(_after_conv(build), SPEC)
    assert "conv_0_out" in placement.own
    assert "sum_out" in placement.own


def test_a_gemm_that_ends_the_network_leaves_in_float_where_the_target_allows_it():
    graph = toys.gemm().graph
    assert "gemm_3_out" not in place(graph, SPEC).own
    assert "gemm_3_out" in place(graph, replace(SPEC, float_outputs=frozenset())).own


def test_where_no_op_may_run_in_float_every_output_is_encoded():
    graph = toys.hard_swish().graph
    strict = replace(SPEC, float_ops=False)
    assert {str(v.name) for v in graph.outputs} <= set(place(graph, strict).own)


def test_a_layer_that_the_target_does_not_run_stays_float():
    only_conv = replace(SPEC, weighted_ops=frozenset({"Conv"}))
    placement = place(toys.two_outputs().graph, only_conv)
    assert [node.op_type for node in placement.float_nodes] == ["Gemm"]


def test_the_indices_of_a_max_pool_are_not_encoded():
    net = Net("indices")
    x = net.conv(net.input("x", 3, 6, 6), 3, 4)
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    net._nodes.append(helper.make_node("MaxPool", [x], ["y", "indices"], name="pool", **pool))
    net.output(net.conv("y", 4, 2, 1), 2, 3, 3)
    shape = ("N", 4, 3, 3)
    net._outputs.append(helper.make_tensor_value_info("indices", TensorProto.INT64, shape))
    placement = place(net.build().graph, SPEC)
    assert placement.inherited == {"y": "conv_0_out"}
    assert not placement.holds(next(v for v in net.build().graph.outputs if v.name == "indices"))


def test_a_constant_operand_of_a_concat_gets_a_range_of_its_own():
    def build(net, x):
        net.constant(np.ones((1, 2, 6, 6), np.float32), "ones")
        y = net.conv(x, 4, 2)
        return net.op("Concat", y, net.op("Add", y, "ones"), axis=1)

    assert "conv_0_out" in place(_after_conv(build), SPEC).own


def test_inheritance_is_followed_to_its_end():
    chain = {"c": "b", "b": "a", "z": "y"}
    assert resolve(["a", "b", "c", "z"], chain) == {"a": "a", "b": "a", "c": "a", "z": "y"}
