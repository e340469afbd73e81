"""What the frontend makes of a graph: folding, names, cuts, the batch."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from fewbits.builtin.onnx_affine import Affine, absorbed, batchnorm_affine, scaled_weight
from fewbits.builtin.onnx_batch import NOTE
from fewbits.builtin.onnx_frontend import OnnxFrontend, OnnxOptions
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper, parser

RNG = np.random.default_rng(0)


def f(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


NORM = {"g": f(4), "b": f(4), "mu": f(4), "v": np.abs(f(4)) + np.float32(0.5)}
BN = "BatchNormalization({}, g, b, mu, v)"


def run(data, feeds):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(data, options)
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


@pytest.fixture
def parse(tmp_path):
    """Return a function that parses nodes from x to the outputs, and compares with the file."""

    def check(nodes, outputs=("y",), inputs="float[N,4,8,8] x", batch=2, **constants):
        results = ", ".join(f"float {name}" for name in outputs)
        proto = parser.parse_model(
            f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => ({results}) {{ {nodes} }}'
        )
        for output in proto.graph.output:
            output.type.tensor_type.ClearField("shape")
        for name, value in constants.items():
            proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        path = tmp_path / "net.onnx"
        path.write_bytes(proto.SerializeToString())
        model = OnnxFrontend().parse(path)
        feeds = {"x": f(batch, 4, 8, 8)}
        expected = run(path.read_bytes(), feeds)
        got = run(ir.to_proto(model.network).SerializeToString(), feeds)
        assert list(got) == list(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-5 * np.abs(value).max())
        return model

    return check


def ops(model):
    return [node.op_type for node in model.graph]


def test_batchnorm_behind_a_layer_is_folded(parse):
    model = parse(f"[one] c = Conv(x, w) [two] y = {BN.format('c')}", w=f(4, 4, 3, 3), **NORM)
    assert [node.name for node in model.graph] == ["one"]
    weight = model.graph.initializers["w"].const_value.numpy()
    assert weight.dtype == np.float32
    assert not weight.flags.writeable


def test_batchnorm_stays_apart_where_the_layer_is_used_twice(parse):
    model = parse(f"c = Conv(x, w) n = {BN.format('c')} y = Add(n, c)", w=f(4, 4, 1, 1), **NORM)
    assert ops(model) == ["Conv", "Conv", "Add"]


def test_batchnorm_stays_apart_where_the_layer_is_an_output(parse):
    nodes = f"c = Conv(x, w) y = {BN.format('c')}"
    model = parse(nodes, ("c", "y"), w=f(4, 4, 1, 1), **NORM)
    assert ops(model) == ["Conv", "Conv"]
    assert model.graph[1].attributes.get_int("group") == 4


def test_batchnorm_goes_ahead_only_without_padding(parse):
    nodes = f"r = Relu(x) n = {BN.format('r')} y = Conv<group=2, pads=[{{}}]>(n, w)"
    weight = f(6, 2, 3, 3)
    assert ops(parse(nodes.format("0,0,0,0"), w=weight, **NORM)) == ["Relu", "Conv"]
    assert ops(parse(nodes.format("1,1,1,1"), w=weight, **NORM)) == ["Relu", "Conv", "Conv"]


def test_batchnorm_around_a_gemm(parse):
    nodes = f"""
      f = Flatten(x) m = Gemm<alpha=0.5, beta=2.0, transB=1>(f, w, c) n = {BN.format("m")}
      r = Relu(n) p = {BN.format("r")} y = Gemm<alpha=0.5, beta=2.0>(p, k, c)
    """
    model = parse(nodes, w=f(4, 256), c=f(4), k=f(4, 4), **NORM)
    assert ops(model) == ["Flatten", "Gemm", "Relu", "Gemm"]


def test_batchnorm_of_a_matrix_becomes_mul_and_add(parse):
    nodes = f"q = GlobalAveragePool(x) f = Flatten(q) r = Relu(f) y = {BN.format('r')}"
    assert ops(parse(nodes, **NORM))[-2:] == ["Mul", "Add"]


def test_arithmetic_by_channel_is_folded(parse):
    nodes = "c = Conv(x, w) m = Mul(c, s) a = Add(t, m) d = Div(a, s) e = Sub(d, t) y = Sub(t, e)"
    model = parse(nodes, w=f(4, 4, 3, 3), s=f(1, 4, 1, 1), t=f(4, 1, 1))
    assert ops(model) == ["Conv"]


def test_arithmetic_along_another_axis_is_left(parse):
    model = parse("c = Conv(x, w) y = Add(c, t)", w=f(4, 4, 1, 1), t=f(8))
    assert ops(model) == ["Conv", "Add"]


def test_hard_sigmoid_spelled_out_is_left(parse):
    nodes = "c = Conv(x, w) a = Add(c, t) k = Clip(a, z, s) d = Div(k, s) y = Mul(x, d)"
    numbers = {"t": np.float32(3), "z": np.float32(0), "s": np.float32(6)}
    assert ops(parse(nodes, w=f(4, 4, 1, 1), **numbers)) == ["Conv", "Add", "Clip", "Div", "Mul"]


def test_weight_shared_by_two_layers_is_folded_for_one(parse):
    nodes = f"c = Conv(x, w) d = Conv(x, w) n = {BN.format('c')} y = Add(n, d)"
    assert ops(parse(nodes, w=f(4, 4, 1, 1), **NORM)) == ["Conv", "Conv", "Add"]


def test_constants_identities_and_dropout_vanish(parse):
    nodes = """
      k = Constant<value = float[1,4,1,1] {1.0, 2.0, 3.0, 4.0}>() i = Identity(x)
      w2 = Transpose<perm=[1,0,2,3]>(w) c = Conv(i, w2) a = Add(c, k) y = Dropout(a)
    """
    assert ops(parse(nodes, w=f(4, 4, 1, 1))) == ["Conv"]


def test_outputs_that_are_one_tensor_keep_their_names(parse):
    nodes = "r = Relu(x) y = Identity(r) z = Identity(r) i = Identity(x)"
    assert parse(nodes, ("y", "z", "i")).output_names == ("y", "z", "i")


def test_pad_goes_into_the_convolution_which_keeps_its_name(parse):
    pads = np.array([0, 0, 1, 1, 0, 0, 2, 2])
    model = parse("p = Pad(x, k) [stem] y = Conv(p, w)", k=pads, w=f(4, 4, 3, 3))
    assert [(node.op_type, node.name) for node in model.graph] == [("Conv", "stem")]


@pytest.mark.parametrize(
    "nodes",
    [
        "s = Shape(x) n = Gather<axis=0>(s, zero) u = Unsqueeze(n, first) "
        "t = Concat<axis=0>(u, rest) y = Reshape(x, t)",
        "q = GlobalAveragePool(x) s = Shape(x) y = Expand(q, s)",
        "s = Shape(x) d = Mul(s, twice) "
        'y = Resize<mode="linear", coordinate_transformation_mode="half_pixel">(x, , , d)',
        "s = Shape<start=2>(x) k = Cast<to=1>(s) m = ReduceProd<keepdims=0>(k) y = Div(x, m)",
    ],
)
@pytest.mark.parametrize("batch", [1, 4])
def test_shape_chain_is_settled_and_the_batch_stays_free(parse, nodes, batch):
    numbers = {
        "zero": np.int64(0),
        "first": np.array([0]),
        "rest": np.array([2, 16, 8]),
        "twice": np.array([1, 1, 2, 2]),
    }
    model = parse(nodes, batch=batch, **numbers)
    assert "Shape" not in ops(model)
    assert str(model.graph.outputs[0].shape).startswith("[N,")


def test_fixed_batch_is_freed_through_reshapes(parse):
    nodes = """
      a = Reshape(x, grouped) t = Transpose<perm=[1,0,2]>(a) b = Reshape(t, split)
      p = Gather<axis=0>(b, zero) q = Gather<axis=0>(b, one) y = Concat<axis=1>(q, p)
    """
    shuffle = {"grouped": np.array([2, 2, 64]), "split": np.array([2, -1, 2, 8, 8])}
    model = parse(
        nodes, inputs="float[1,4,8,8] x", batch=1, zero=np.int64(0), one=np.int64(1), **shuffle
    )
    assert model.network.metadata_props[NOTE] == "free"
    x = f(3, 4, 8, 8)
    got = run(ir.to_proto(model.network).SerializeToString(), {"x": x})["y"]
    channels = x.reshape(3, 2, 2, 8, 8)
    np.testing.assert_array_equal(got, np.concatenate([channels[:, :, 1], channels[:, :, 0]], 1))


@pytest.mark.parametrize(
    "nodes",
    [
        "m = ReduceMean<axes=[0], keepdims=1>(x) y = Sub(x, m)",
        "s = Softmax<axis=0>(x) y = Add(s, x)",
        "t = Transpose<perm=[1,0,2,3]>(x) y = Relu(t)",
        "m = ReduceMax<keepdims=0>(x) y = Div(x, m)",
    ],
)
def test_fixed_batch_stays_where_samples_would_mix(parse, nodes):
    model = parse(nodes, inputs="float[1,4,8,8] x", batch=1)
    assert model.network.metadata_props[NOTE].startswith("fixed at 1: ")
    assert model.graph.inputs[0].shape[0] == 1


CUT = """
  [stem] c = Conv(x, w) [act] r = Relu(c) [left] a = Sigmoid(r) [right] b = Tanh(r)
  [sum] s = Add(a, b) [last] y = Relu(s)
"""


def cut(tmp_path, **options):
    text = (
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[N,4,8,8] x) => (float[N] y) {{{CUT}}}'
    )
    proto = parser.parse_model(text)
    proto.graph.initializer.append(numpy_helper.from_array(f(4, 4, 3, 3), "w"))
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    return OnnxFrontend(OnnxOptions(**options)).parse(path)


def test_ends_are_outputs_in_the_order_given(tmp_path):
    model = cut(tmp_path, end_node_names=("right", "a", "act"))
    assert model.output_names == ("b", "a", "r")
    assert {node.name for node in model.graph} == {"stem", "act", "left", "right"}


def test_starts_make_the_inputs(tmp_path):
    model = cut(tmp_path, start_node_names=("sum",))
    assert model.input_names == ("a", "b")
    assert [str(v.shape) for v in model.graph.inputs] == ["[N,4,6,6]", "[N,4,6,6]"]
    assert [node.name for node in model.graph] == ["sum", "last"]
    assert not model.graph.initializers
    x = {"a": f(2, 4, 6, 6), "b": f(2, 4, 6, 6)}
    got = run(ir.to_proto(model.network).SerializeToString(), x)["y"]
    np.testing.assert_array_equal(got, np.maximum(x["a"] + x["b"], 0))


def test_input_shape_serves_the_file_s_input_before_the_cut(tmp_path):
    nodes = "[one] a = Relu(x) b = Sigmoid(z) c = Add(a, b) [two] y = Relu(c)"
    text = (
        f'<ir_version: 8, opset_import: ["" : 17]>'
        f"g (float[N,3,H,W] x, float[N,3,H,W] z) => (float y) {{ {nodes} }}"
    )
    path = tmp_path / "net.onnx"
    path.write_bytes(parser.parse_model(text).SerializeToString())

    def shapes(**options):
        model = OnnxFrontend(OnnxOptions(**options)).parse(path)
        return {str(value.name): str(value.shape) for value in model.graph.inputs}

    both = {"x": (3, 5, 6), "z": (3, 5, 6)}
    assert shapes(input_shape=both, start_node_names=("two",)) == {"c": "[N,3,5,6]"}
    assert shapes(input_shape={"c": (3, 5, 6)}, start_node_names=("two",)) == {"c": "[N,3,5,6]"}
    assert shapes(input_shape={"x": (3, 5, 6)}, end_node_names=("one",)) == {"x": "[N,3,5,6]"}


def test_weights_listed_as_inputs_are_no_inputs(tmp_path):
    proto = parser.parse_model(
        '<ir_version: 3, opset_import: ["" : 8]>'
        "g (float[N,4,8,8] x, float[4,4,1,1] w) => (float[N,4,8,8] y) { y = Conv(x, w) }"
    )
    proto.graph.initializer.append(numpy_helper.from_array(f(4, 4, 1, 1), "w"))
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    assert OnnxFrontend().parse(path).input_names == ("x",)


def test_functions_are_inlined(tmp_path):
    proto = parser.parse_model("""
      <ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
      g (float[N,4,8,8] x) => (float[N,4,8,8] y) { y = mine.swish(x) }
      <domain: "mine", opset_import: ["" : 17]>
      swish (a) => (b) { s = Sigmoid(a) b = Mul(a, s) }
    """)
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    model = OnnxFrontend().parse(path)
    assert ops(model) == ["Sigmoid", "Mul"]
    assert model.network.opset_imports == {"": 21}


def test_start_and_end_together(tmp_path):
    model = cut(tmp_path, start_node_names=("left",), end_node_names=("sum",))
    assert (model.input_names, model.output_names) == (("r",), ("s",))
    assert sorted(ops(model)) == ["Add", "Sigmoid", "Tanh"]


def test_same_file_gives_the_same_bytes(tmp_path):
    first, second = (ir.to_proto(cut(tmp_path).network) for _ in range(2))
    first.graph.initializer[0].CopyFrom(second.graph.initializer[0])
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )


def test_batchnorm_affine_is_the_closed_form():
    gamma, beta, mean, variance = (np.array([v]) for v in (3.0, 1.0, 5.0, 3.0))
    affine = batchnorm_affine(gamma, beta, mean, variance, 1.0)
    np.testing.assert_allclose(affine.scale, [1.5])
    np.testing.assert_allclose(affine.shift, [1 - 7.5])


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_scaled_transposed_weight_scales_its_output(group, into, out, seed):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((group * into, out, 1, 1))
    scale = rng.standard_normal(group * out)
    x = rng.standard_normal((group, into))

    def output(w):
        return np.einsum("gi,gio->go", x, w.reshape(group, into, out)).reshape(-1)

    scaled = scaled_weight("ConvTranspose", weight, scale, group)
    np.testing.assert_allclose(output(scaled), output(weight) * scale, atol=1e-12)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_absorbed_map_is_the_map_before_the_layer(group, into, out, seed):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((group * out, into, 2))
    before = Affine(rng.standard_normal(group * into), rng.standard_normal(group * into))
    x = rng.standard_normal((group * into, 2))

    def output(w, data):
        return np.einsum(
            "goik,gik->go", w.reshape(group, out, into, 2), data.reshape(group, into, 2)
        ).reshape(-1)

    new, shift = absorbed(weight, before, group)
    mapped = x * before.scale[:, None] + before.shift[:, None]
    np.testing.assert_allclose(output(new, x) + shift, output(weight, mapped), atol=1e-12)


def test_affine_maps_compose():
    first, later = (
        Affine(np.array([2.0]), np.array([3.0])),
        Affine(np.array([5.0]), np.array([7.0])),
    )
    both = first.then(later)
    np.testing.assert_array_equal(5 * (2 * 1.5 + 3) + 7, both.scale * 1.5 + both.shift)
