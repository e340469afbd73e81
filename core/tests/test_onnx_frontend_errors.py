"""Bad input gets a message that names the place, a hint that names the remedy, and no file."""

import numpy as np
import onnx
import pytest
from fewbits.builtin.onnx_frontend import OnnxFrontend, OnnxOptions
from fewbits.errors import ModelError
from onnx import numpy_helper, parser

ONES = np.ones((4, 4, 1, 1), np.float32)
CONV = "[first] c = Conv(x, w) [second] y = Relu(c)"


def build(nodes, inputs="float[N,4,8,8] x", output="float[N,4,8,8] y", opset=17, **constants):
    proto = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}, "my.ops" : 1]>'
        f"g ({inputs}) => ({output}) {{ {nodes} }}"
    )
    for name, value in constants.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return proto


def parse(path, data, **options):
    path.write_bytes(data if isinstance(data, bytes) else data.SerializeToString())
    return OnnxFrontend(OnnxOptions(**options)).parse(path)


@pytest.fixture
def refused(tmp_path):
    """Return a function that parses, expects a ModelError and nothing left behind."""

    def check(data, *words, hint, **options):
        with pytest.raises(ModelError) as caught:
            parse(tmp_path / "net.onnx", data, **options)
        for word in words:
            assert word in caught.value.message
        assert hint in caught.value.hint
        assert [entry.name for entry in tmp_path.iterdir()] == ["net.onnx"]

    return check


@pytest.mark.parametrize(
    "data",
    [b"<html>Not found</html>", b"PK\x03\x04" + bytes(100), bytes(range(256)), b"\x08\x08"],
)
def test_file_that_is_no_onnx(refused, data):
    refused(data, "net.onnx is no ONNX file", hint="Export")


def test_empty_file(refused):
    refused(b"", "net.onnx is empty", hint="Export")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ModelError, match="no file"):
        OnnxFrontend().parse(tmp_path / "nothing.onnx")
    with pytest.raises(ModelError, match="folder"):
        OnnxFrontend().parse(tmp_path)


def test_file_cut_at_any_byte(refused):
    data = build(CONV, w=ONES).SerializeToString()
    for length in range(1, len(data), 7):
        refused(data[:length], "net.onnx", hint="Export")


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_no_numbers(refused, number):
    weight = ONES.copy()
    weight[1, 2] = number
    kind = "NaN" if np.isnan(number) else "infinite"
    refused(build(CONV, w=weight), "'w'", "'first'", kind, "1 of 16", hint="weights")


def test_infinite_bound_is_no_weight(tmp_path):
    data = build("y = Clip(x, low, high)", low=np.float32(0), high=np.float32(np.inf))
    assert parse(tmp_path / "net.onnx", data).output_names == ("y",)


def test_half_precision(refused):
    data = build("y = Relu(x)", "float16[N,4] x", "float16[N,4] y")
    refused(data, "Input 'x' is FLOAT16", hint="float32")
    nodes = "k = Cast<to=1>(w) y = Conv(x, k)"
    refused(build(nodes, w=ONES.astype(np.float16)), "'w' is float16", hint="float32")


def external(path):
    """Save a network whose weight lies in `net.bin`."""
    onnx.save(
        build("y = Conv(x, w)", w=ONES),
        path,
        save_as_external_data=True,
        location="net.bin",
        size_threshold=0,
    )


def test_external_weights(tmp_path):
    path = tmp_path / "net.onnx"
    external(path)
    model = OnnxFrontend().parse(path)
    (tmp_path / "net.bin").unlink()
    array = model.graph.initializers["w"].const_value.numpy()
    np.testing.assert_array_equal(array, ONES)
    with pytest.raises(ModelError, match=r"'w' are missing.*net\.bin") as caught:
        OnnxFrontend().parse(path)
    assert "net.bin" in caught.value.hint
    (tmp_path / "net.bin").write_bytes(bytes(10))
    with pytest.raises(ModelError, match="'w' are cut off"):
        OnnxFrontend().parse(path)


def test_external_weights_outside_the_folder(refused):
    proto = build("y = Conv(x, w)", w=ONES)
    onnx.external_data_helper.set_external_data(proto.graph.initializer[0], "../secret.bin")
    refused(proto, "'w' lie outside", "../secret.bin", hint="beside")


BEYOND = [
    pytest.param("[bad] y = Foo(c)", ("Foo", "'bad'", "unknown"), id="unknown"),
    pytest.param("[bad] y = my.ops.Foo(c)", ("Foo", "'bad'", "'my.ops'"), id="custom"),
    pytest.param(
        "s = ReduceSum<keepdims=0>(c) k = Cast<to=9>(s) [bad] y = If(k)<"
        "then_branch = a () => (float[A,B,C,D] p) { p = Identity(c) },"
        "else_branch = b () => (float[A,B,C,D] q) { q = Relu(c) }>",
        ("Control flow", "'bad'", "If"),
        id="control-flow",
    ),
]


@pytest.mark.parametrize(("tail", "words"), BEYOND)
def test_op_that_cannot_be_handled_can_be_cut_off(refused, tmp_path, tail, words):
    data = build(f"[first] c = Conv(x, w) {tail}", w=ONES)
    refused(data, *words, hint="--end-node-names")
    model = parse(tmp_path / "net.onnx", data, end_node_names=("first",))
    assert model.output_names == ("c",)
    assert [node.op_type for node in model.graph] == ["Conv"]


@pytest.mark.parametrize(
    ("nodes", "op"),
    [
        ("q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)", "QuantizeLinear"),
        ("q, t, u = DynamicQuantizeLinear(x) y = Cast<to=1>(q)", "DynamicQuantizeLinear"),
        ("q = Cast<to=2>(x) i = ConvInteger(q, k) y = Cast<to=1>(i)", "ConvInteger"),
        ("y = my.ops.QLinearAdd(x, x)", "QLinearAdd"),
    ],
)
def test_quantized_network(refused, nodes, op):
    constants = {"s": np.float32(0.1), "z": np.uint8(3), "k": np.ones((1, 4, 1, 1), np.uint8)}
    refused(build(nodes, **constants), "already quantized", op, hint="full-precision")


def test_dynamic_spatial_size(refused, tmp_path):
    data = build("y = Relu(x)", "float[N,3,H,W] x")
    refused(data, "Input 'x'", "?×3×?×?", hint="--input-shape x=3x224x224")
    for shape in ((3, 5, 6), (1, 3, 5, 6), {"x": (3, 5, 6)}):
        model = parse(tmp_path / "net.onnx", data, input_shape=shape)
        assert str(model.graph.outputs[0].shape) == "[N,3,5,6]"


def test_input_shape_that_does_not_fit(refused):
    data = build("y = Relu(x)", "float[N,3,H,W] x")
    refused(data, "4 dimensions", "2 were given", hint="batch", input_shape=(5, 6))
    refused(data, "?×3×?×?", "?×4×5×6", hint="open", input_shape=(4, 5, 6))
    refused(data, "no input 'y'", hint="Known: x", input_shape={"y": (3, 5, 6)})
    refused(data, "'x' cannot be", hint="at least 1", input_shape=(3, 0, 6))
    two = build("y = Add(x, z)", "float[N,3,H] x, float[N,3,H] z")
    refused(two, "2 inputs", hint="x, z", input_shape=(3, 5))


@pytest.mark.parametrize("opset", [6, 99])
def test_opset_that_cannot_be_read(refused, opset):
    refused(build("y = Relu(x)", opset=opset), f"opset {opset}", "7 to", hint="opset_version")


def test_unknown_start_and_end(refused):
    data = build(CONV, w=ONES)
    refused(data, "--end-node-names", "'secnd'", hint="'second'", end_node_names=("secnd",))
    refused(data, "--start-node-names", "'secnd'", hint="'second'", start_node_names=("secnd",))


def test_start_behind_the_end(refused):
    cut = {"start_node_names": ("second",), "end_node_names": ("first",)}
    refused(build(CONV, w=ONES), "'c'", hint="--start-node-names", **cut)
    longer = build(f"{CONV} [third] z = Relu(y)", w=ONES)
    cut["start_node_names"] = ("third",)
    refused(longer, "'y'", hint="--start-node-names", **cut)


def test_network_without_inputs(refused):
    refused(build("y = Relu(w)", "", w=ONES), "no inputs", hint="--start-node-names")


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ("[bad] y = Add(x, k)", {"k": np.ones((1, 4, 7, 8), np.float32)}),
        ("[bad] y = Conv(x, k)", {"k": np.ones((4, 3, 1, 1), np.float32)}),
        ("f = Flatten(x) [bad] y = Gemm(f, k)", {"k": np.ones((4, 3), np.float32)}),
        ("[bad] y = Reshape(x, k)", {"k": np.array([0, 5, 8, 8])}),
    ],
)
def test_shapes_that_contradict_each_other(refused, nodes, constants):
    refused(build(nodes, **constants), "fit together", "bad", hint="--input-shape")


@pytest.mark.parametrize(
    ("nodes", "inputs", "output", "what"),
    [
        ("s = SequenceAt(x, k) y = Relu(s)", "seq(float[N,4]) x", "float[N,4] y", "Input 'x'"),
        ("y = SequenceConstruct(x, x)", "float[N,4] x", "seq(float[N,4]) y", "Output 'y'"),
        ("y = OptionalGetElement(x)", "optional(float[N,4]) x", "float[N,4] y", "Input 'x'"),
        ("y = Identity(x)", "string[N,4] x", "string[N,4] y", "Input 'x' holds strings"),
    ],
)
def test_inputs_and_outputs_that_are_no_tensors_of_numbers(refused, nodes, inputs, output, what):
    refused(build(nodes, inputs, output, k=np.int64(0)), what, hint="node-names")


@pytest.mark.parametrize("nodes", ["[bad] y = Relu<speed=3>(x)", "[bad] y = Add(x)"])
def test_node_that_its_op_does_not_allow(refused, nodes):
    refused(build(nodes), "bad", hint="Export")


def test_tensor_that_nothing_makes(refused):
    refused(build("[bad] y = Add(x, z)"), "'z'", "'bad'", hint="--end-node-names")
