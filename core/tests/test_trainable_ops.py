"""Every op in torch computes what ONNX Runtime computes, in each of its forms."""

from itertools import product as every

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

torch = pytest.importorskip("torch")
from fewbits.trainable.ops import OPS, op_of  # noqa: E402

QUIET = settings(deadline=None, max_examples=25)


class Case:
    """A node and its inputs: arrays, shapes of normal random numbers, or None."""

    def __init__(self, op, *inputs, outputs=("y",), **attributes):
        rng = np.random.default_rng(0)
        self.arrays = [
            rng.normal(0, 1.5, x).astype(np.float32) if isinstance(x, tuple) else x for x in inputs
        ]
        names = [f"x{i}" if x is not None else "" for i, x in enumerate(self.arrays)]
        self.proto = helper.make_node(op, names, list(outputs), name=f"a_{op}", **attributes)
        said = [f"{k}={v}" for k, v in attributes.items()]
        self.name = " ".join([op, *("·".join(map(str, np.shape(x))) for x in self.arrays), *said])

    @property
    def node(self):
        return self._model().graph[0]

    def _proto(self):
        of = helper.np_dtype_to_tensor_dtype
        inputs = [
            helper.make_tensor_value_info(f"x{i}", of(x.dtype), x.shape)
            for i, x in enumerate(self.arrays)
            if x is not None
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in self.proto.output if name]
        graph = helper.make_graph([self.proto], "one", inputs, outputs)
        opsets = [helper.make_opsetid("", 21)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def _model(self):
        return ir.from_proto(self._proto())

    def by_onnxruntime(self):
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(self._proto().SerializeToString(), options)
        feeds = {f"x{i}": x for i, x in enumerate(self.arrays) if x is not None}
        return session.run(None, feeds)

    def by_torch(self, layout=torch.contiguous_format):
        inputs = [None if x is None else torch.tensor(x) for x in self.arrays]
        if self.arrays and np.ndim(self.arrays[0]) == 4:
            inputs[0] = inputs[0].contiguous(memory_format=layout)
        return op_of(self.node)(self.node, inputs)

    def agree(self, atol=1e-5):
        expected = self.by_onnxruntime()
        for layout in (torch.contiguous_format, torch.channels_last):
            found = self.by_torch(layout)
            assert len(found) >= len(expected)
            for want, got in zip(expected, found, strict=False):
                assert got.numpy().dtype == want.dtype
                assert tuple(got.shape) == want.shape
                np.testing.assert_allclose(got.numpy(), want, rtol=1e-5, atol=atol)


def ints(*numbers):
    return np.array(numbers, np.int64)


def floats(*numbers):
    return np.array(numbers, np.float32)


def scalar(number, kind=np.float32):
    return np.array(number, kind)


X = (2, 4, 7, 6)
POSITIVE = np.random.default_rng(1).uniform(0.1, 3.0, (2, 3, 4)).astype(np.float32)
WITHIN = np.linspace(-0.9, 0.9, 24, dtype=np.float32).reshape(2, 3, 4)
WHOLE = np.arange(-12, 12).reshape(2, 3, 4)
TRUTH = WHOLE % 3 == 0

LINEAR = [
    Case("Conv", X, (6, 4, 3, 2), (6,)),
    Case("Conv", X, (6, 2, 3, 3), None, group=2, pads=[1, 1, 1, 1], strides=[2, 1]),
    Case("Conv", X, (4, 1, 3, 3), (4,), group=4, pads=[0, 1, 2, 1], dilations=[2, 1]),
    *(
        Case("Conv", X, (3, 4, 3, 2), auto_pad=mode, strides=strides)
        for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")
        for strides in ([1, 1], [2, 3])
    ),
    Case("Conv", (2, 3, 9), (4, 3, 3), (4,), pads=[1, 2], strides=[2]),
    Case("Conv", (1, 2, 5, 6, 4), (3, 2, 2, 3, 2), (3,), pads=[0, 1, 0, 1, 1, 0]),
    Case("ConvTranspose", X, (4, 3, 3, 2), (3,)),
    Case("ConvTranspose", X, (4, 3, 3, 3), None, group=2, strides=[2, 2], pads=[1, 1, 1, 1]),
    Case("ConvTranspose", X, (4, 1, 2, 2), (4,), group=4, strides=[2, 2]),
    Case("ConvTranspose", X, (4, 3, 3, 3), (3,), strides=[2, 3], pads=[0, 1, 1, 0]),
    Case("ConvTranspose", X, (4, 3, 3, 3), strides=[3, 2], output_padding=[2, 1]),
    Case(
        "ConvTranspose", X, (4, 3, 3, 3), strides=[3, 2], output_padding=[2, 1], pads=[1, 1, 1, 1]
    ),
    Case("ConvTranspose", X, (4, 3, 3, 3), dilations=[2, 1], pads=[2, 1, 2, 1]),
    Case("ConvTranspose", X, (4, 3, 3, 2), strides=[2, 2], auto_pad="SAME_UPPER"),
    Case("ConvTranspose", X, (4, 3, 3, 2), strides=[2, 2], auto_pad="SAME_LOWER"),
    Case("ConvTranspose", X, (4, 3, 3, 3), strides=[3, 3], output_shape=[20, 17]),
    Case("ConvTranspose", (2, 3, 5), (3, 2, 4), (2,), strides=[2], pads=[1, 1]),
    Case("ConvTranspose", (1, 2, 3, 4, 3), (2, 2, 2, 2, 3), strides=[2, 1, 2]),
    Case("Gemm", (3, 5), (5, 4)),
    Case("Gemm", (3, 5), (5, 4), alpha=0.5),
    Case("Gemm", (5, 3), (4, 5), (4,), transA=1, transB=1, alpha=0.3, beta=2.5),
    Case("Gemm", (3, 5), (5, 4), (3, 1)),
    Case("Gemm", (3, 5), (5, 4), (1, 4), beta=0.0),
    Case("Gemm", (3, 5), (5, 4), ()),
    Case("MatMul", (3, 5), (5, 4)),
    Case("MatMul", (2, 1, 3, 5), (4, 5, 2)),
    Case("MatMul", (5,), (2, 5, 3)),
    Case("Einsum", (2, 3, 4), (2, 5, 4), equation="bqd, bkd -> bqk"),
    Case("Einsum", (2, 3, 3), equation="bii->bi"),
    Case("BatchNormalization", X, (4,), (4,), (4,), np.abs(floats(1, 2, 3, 0.5))),
    Case("BatchNormalization", (3, 2), (2,), (2,), (2,), floats(1, 2), epsilon=0.1),
    Case("InstanceNormalization", X, (4,), (4,)),
    Case("InstanceNormalization", (2, 3, 8), (3,), (3,), epsilon=0.1),
    Case("GroupNormalization", X, (4,), (4,), num_groups=2),
    Case("LayerNormalization", (2, 3, 8), (8,), (8,)),
    Case("LayerNormalization", (2, 3, 8), (3, 8), axis=1, epsilon=0.1),
    Case("LayerNormalization", (2, 3, 8), (1, 8), (3, 1), axis=-2),
    Case("LpNormalization", X, axis=1),
    Case("LpNormalization", (2, 5), p=1),
    Case("LpNormalization", np.zeros((2, 5), np.float32)),
    Case("LRN", X, size=3, alpha=0.3, beta=0.6, bias=1.5),
    Case("LRN", X, size=5),
]

SMOOTH = "Neg Abs Exp Erf Sigmoid Tanh Sin Cos Sinh Cosh Atan Softplus Softsign Mish HardSwish"
ONE = f"{SMOOTH} Relu Identity Floor Ceil Round Sign LeakyRelu Elu Selu Celu Gelu HardSigmoid"
ELEMENTWISE = [
    *(Case(op, (2, 3, 4, 5)) for op in ONE.split()),
    *(Case(op, (2, 3, 4)) for op in ("Softmax", "LogSoftmax", "ThresholdedRelu", "Shrink")),
    *(Case(op, POSITIVE) for op in ("Log", "Sqrt", "Reciprocal")),
    *(Case(op, WITHIN) for op in ("Asin", "Acos", "Tan")),
    Case("Abs", WHOLE),
    Case("Round", floats(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)),
    Case("Softplus", floats(-90, -20, 0, 19, 21, 90)),
    Case("LeakyRelu", (3, 4), alpha=0.3),
    Case("ThresholdedRelu", floats(-1, 0.3, 0.4, 2), alpha=0.4),
    Case("Elu", (3, 4), alpha=0.7),
    Case("Selu", (3, 4), alpha=1.1, gamma=1.3),
    Case("Celu", (3, 4), alpha=0.7),
    Case("Gelu", (3, 4), approximate="tanh"),
    Case("HardSigmoid", (3, 4), alpha=1 / 6, beta=0.4),
    Case("Shrink", (3, 4), lambd=0.7, bias=0.2),
    Case("PRelu", X, (4, 1, 1)),
    Case("PRelu", X, (1,)),
    Case("PRelu", (3, 4), (4,)),
    Case("Softmax", X, axis=1),
    Case("LogSoftmax", X, axis=-2),
    *(Case(op, X, (4, 1, 6)) for op in ("Add", "Sub", "Mul", "Div")),
    *(Case(op, WHOLE, ints(-5, -2, 3, 4)) for op in ("Add", "Sub", "Mul", "Div", "Min", "Max")),
    *(Case(op, X, (4, 1, 1), (1,)) for op in ("Min", "Max", "Sum", "Mean")),
    *(Case(op, X) for op in ("Min", "Max", "Sum", "Mean")),
    Case("Pow", POSITIVE, (2, 3, 4)),
    Case("Pow", (3, 4), scalar(2.0)),
    Case("Pow", (3, 4), scalar(3, np.int64)),
    Case("Pow", WHOLE, scalar(2.0)),
    Case("Mod", WHOLE, ints(-5, -2, 3, 4)),
    Case("Mod", (3, 4), floats(-0.5, -2, 3, 0.4), fmod=1),
    Case("Clip", X, scalar(-0.5), scalar(0.7)),
    Case("Clip", X, None, scalar(0.7)),
    Case("Clip", X, scalar(0.1)),
    Case("Clip", X),
    Case("Clip", WHOLE, scalar(-2, np.int64), scalar(3, np.int64)),
    *(
        Case(op, WHOLE, ints(0, 1, -2, 3))
        for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    ),
    *(Case(op, TRUTH, ~TRUTH[:1]) for op in ("And", "Or", "Xor")),
    Case("Not", TRUTH),
    Case("Where", TRUTH, (2, 3, 4), (4,)),
    Case("Where", TRUTH, WHOLE, scalar(7, np.int64)),
    Case("Cast", (3, 4), to=onnx.TensorProto.INT64),
    Case("Cast", (3, 4), to=onnx.TensorProto.BOOL),
    Case("Cast", WHOLE, to=onnx.TensorProto.FLOAT),
    Case("Cast", TRUTH, to=onnx.TensorProto.FLOAT),
    Case("Cast", WHOLE, to=onnx.TensorProto.DOUBLE),
    Case("CastLike", WHOLE, (1,)),
]

MARGINS = ({}, {"pads": [1, 0, 1, 1]}, {"pads": [1, 1, 1, 1]}, {"auto_pad": "SAME_LOWER"})
POOL = [
    {"kernel_shape": [3, 3], "strides": strides, "ceil_mode": ceil, **pads}
    for strides, ceil, pads in every(([1, 1], [2, 3], [3, 2]), (0, 1), MARGINS)
    if not (ceil and "auto_pad" in pads)
]
ODD = {"pads": [2, 2, 1, 2], "kernel_shape": [3, 3], "ceil_mode": 1, "strides": [2, 2]}
REDUCE = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"
POOLS = [
    *(Case("MaxPool", X, **form) for form in POOL),
    *(Case("AveragePool", X, count_include_pad=n, **form) for form in POOL for n in (0, 1)),
    *(
        Case(op, (2, 3, 9, 9), kernel_shape=[3, 2], dilations=[2, 3], ceil_mode=ceil, **more)
        for op in ("MaxPool", "AveragePool")
        for ceil in (0, 1)
        for more in ({}, {"strides": [3, 2], "pads": [1, 1, 0, 1]})
    ),
    Case("MaxPool", X, **ODD),
    Case("AveragePool", X, **ODD),
    Case("AveragePool", X, count_include_pad=1, **ODD),
    Case(
        "AveragePool", X, kernel_shape=[2, 2], dilations=[2, 2], count_include_pad=1, pads=[1] * 4
    ),
    *(Case(op, (2, 3, 9), kernel_shape=[4], strides=[2]) for op in ("MaxPool", "AveragePool")),
    *(
        Case(op, (1, 2, 5, 6, 4), kernel_shape=[2, 3, 2], pads=[1, 0, 1, 0, 1, 1])
        for op in ("MaxPool", "AveragePool")
    ),
    *(Case(op, x) for op in ("GlobalAveragePool", "GlobalMaxPool") for x in (X, (2, 3, 5))),
    *(Case(f"Reduce{op}", POSITIVE) for op in REDUCE.split()),
    *(Case(f"Reduce{op}", POSITIVE, ints(-1, 0), keepdims=0) for op in REDUCE.split()),
    *(Case(f"Reduce{op}", WHOLE, ints(1)) for op in ("Max", "Min", "Sum", "Prod")),
    Case("ArgMax", X, axis=1),
    Case("ArgMin", X, axis=-1, keepdims=0),
    Case("ArgMax", TRUTH.astype(np.float32), axis=2, select_last_index=1),
    *(
        Case("CumSum", X, scalar(axis, np.int64), exclusive=exclusive, reverse=reverse)
        for axis, exclusive, reverse in ((1, 0, 0), (-1, 1, 0), (2, 0, 1), (2, 1, 1))
    ),
]

SHAPES = [
    *(Case("Flatten", X, axis=axis) for axis in (0, 1, 2, 4, -1)),
    Case("Reshape", X, ints(0, -1, 6)),
    Case("Reshape", X, ints(-1)),
    Case("Reshape", (0, 3), ints(3, 0), allowzero=1),
    Case("Transpose", X),
    Case("Transpose", X, perm=[0, 2, 3, 1]),
    Case("Slice", X, ints(1, 0), ints(3, 100)),
    Case("Slice", X, ints(1, -5), ints(3, -1), ints(1, -2), ints(1, 2)),
    Case("Slice", X, ints(-1), ints(-(2**63)), ints(3), ints(-2)),
    Case("Slice", X, ints(5), ints(1), ints(2), ints(-1)),
    Case("Slice", X, ints(5), ints(2), ints(2)),
    Case("Slice", X, ints(0), ints(2**63 - 1), ints(2), ints(3)),
    Case("Pad", X, ints(0, 3, 0, 0, 0, 3, 1, 2)),
    Case("Pad", X, ints(0, 0, -1, 0, 0, 0, 2, -1), scalar(0.5)),
    Case("Pad", X, ints(1, 2, 3, 0), scalar(-1.0), ints(-1, 1)),
    *(Case("Pad", X, ints(0, 1, 2, 0, 1, 0, 3, 2), mode=mode) for mode in ("reflect", "edge")),
    Case("Pad", X, ints(0, 1, 2, 0, 1, 0, 3, 2), mode="wrap"),
    Case("Pad", X, ints(1, 2, 2, 1), None, ints(2, 3), mode="reflect"),
    Case("Gather", X, ints(3, 0, -1), axis=1),
    Case("Gather", X, ints(1, 0, -1, 2).reshape(2, 2), axis=-1),
    Case("Gather", X, scalar(-2, np.int64), axis=2),
    Case("Gather", X, np.array([1, 0], np.int32)),
    Case("Gather", WHOLE, scalar(1, np.int64)),
    Case("GatherElements", (3, 4), ints(0, -1, 2, 1, 0, 0).reshape(3, 2), axis=1),
    Case("Split", X, outputs=("a", "b"), axis=1, num_outputs=2),
    Case("Split", X, ints(1, 3), outputs=("a", "b"), axis=-3),
    Case("Split", X, outputs=("a", "b", "c"), axis=2, num_outputs=3),
    Case("Squeeze", (1, 3, 1, 2)),
    Case("Squeeze", (1, 3, 1, 2), ints(-2)),
    Case("Unsqueeze", (3, 2), ints(-1, 0)),
    Case("Unsqueeze", (3, 2), ints(2, 1)),
    Case("Concat", (2, 3), (2, 1), (2, 2), axis=-1),
    Case("Concat", WHOLE, WHOLE, axis=0),
    Case("Expand", (3, 1), ints(2, 1, 4)),
    Case("Expand", (2, 3, 4), ints(3, 1)),
    Case("Tile", (2, 3), ints(2, 3)),
    *(Case("DepthToSpace", (2, 12, 3, 2), blocksize=2, mode=mode) for mode in ("DCR", "CRD")),
    Case("SpaceToDepth", (2, 3, 4, 6), blocksize=2),
    Case("Trilu", (2, 4, 5)),
    Case("Trilu", (4, 4), scalar(-1, np.int64), upper=0),
    Case("Shape", X),
    Case("Shape", X, start=-3, end=-1),
    Case("Size", X),
    Case("Range", *(scalar(n, np.int64) for n in (7, -4, -3))),
    Case("Range", *(scalar(n) for n in (0.5, 3.0, 0.75))),
    Case("Constant", value=onnx.numpy_helper.from_array(POSITIVE)),
    Case("Constant", value_float=1.5),
    Case("Constant", value_floats=[1.5, 2.0]),
    Case("Constant", value_int=3),
    Case("Constant", value_ints=[3, 4]),
    Case("ConstantOfShape", ints(2, 3)),
    Case("ConstantOfShape", ints(2), value=onnx.numpy_helper.from_array(ints(7))),
]


def resized(*shape, scales=None, sizes=None, **attributes):
    """Return the case of a Resize by scales or to sizes."""
    scales, sizes = floats(*scales) if scales else None, ints(*sizes) if sizes else None
    return Case("Resize", shape, None, scales, sizes, **attributes)


RESIZE = [
    resized(*X, scales=[1, 1, 2, 2]),
    resized(*X, sizes=[2, 4, 21, 12], coordinate_transformation_mode="asymmetric"),
    resized(*X, scales=[1, 1, 1.3, 0.6], coordinate_transformation_mode="asymmetric"),
    *(
        resized(*X, scales=[1, 1, 2.5, 0.5], nearest_mode=mode)
        for mode in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ),
    *(resized(*X, scales=[1, 1, 2, 3], mode=mode) for mode in ("linear", "cubic")),
    *(resized(*X, scales=[1, 1, 1.7, 0.6], mode=mode) for mode in ("linear", "cubic")),
    resized(*X, sizes=[2, 4, 5, 9], mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5),
    *(
        resized(*X, sizes=[13, 1], axes=[2, 3], mode="linear", coordinate_transformation_mode=mode)
        for mode in ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
    ),
    resized(
        *X, scales=[1.7, 0.6], axes=[2, 3], coordinate_transformation_mode="half_pixel_symmetric"
    ),
    *(
        resized(*X, sizes=[20, 30], axes=[2, 3], keep_aspect_ratio_policy=policy)
        for policy in ("not_larger", "not_smaller")
    ),
    resized(2, 3, 5, sizes=[2, 3, 9]),
    resized(4, 6, scales=[2, 0.5], mode="linear"),
    resized(1, 2, 4, 3, 5, scales=[1, 1, 2, 1.5, 2], mode="linear"),
    resized(2, 4, 3, 3, sizes=[2, 8, 3, 6]),
    resized(*X, sizes=X, mode="linear"),
]

ALL = [*LINEAR, *ELEMENTWISE, *POOLS, *SHAPES, *RESIZE]


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_ops_are_those_of_onnxruntime_in_either_layout(case):
    case.agree()


KEPT = "Conv ConvTranspose BatchNormalization Relu Clip Add MaxPool AveragePool HardSwish Sigmoid"


@pytest.mark.parametrize(
    "case",
    [c for c in ALL if c.proto.op_type in KEPT.split() and np.ndim(c.arrays[0]) == 4],
    ids=lambda case: case.name,
)
def test_the_layout_of_the_input_is_kept(case):
    (found,) = case.by_torch(torch.channels_last)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_every_op_has_a_case():
    assert set(OPS) == {case.proto.op_type for case in ALL}


# Where a place is a tie but for rounding, ONNX Runtime may choose the other side: draw no new ones.
@settings(QUIET, derandomize=True)
@given(
    old=st.integers(1, 40),
    new=st.integers(1, 90),
    mode=st.sampled_from(["nearest", "linear"]),
    places=st.sampled_from(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]),
)
def test_any_size_becomes_any_other_as_in_onnxruntime(old, new, mode, places):
    form = {"mode": mode, "coordinate_transformation_mode": places}
    resized(1, 2, 3, old, sizes=[1, 2, 6, new], **form).agree(atol=1e-4)


@QUIET
@given(
    size=st.integers(5, 12),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    pads=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    flags=st.tuples(st.booleans(), st.booleans()),
)
def test_windows_lie_as_in_onnxruntime(size, kernel, stride, pads, flags):
    pads = [min(pad, kernel - 1) for pad in pads]
    form = {"kernel_shape": [kernel], "strides": [stride], "pads": pads}
    Case("MaxPool", (1, 2, size), ceil_mode=int(flags[0]), **form).agree()
    include = int(flags[1])
    Case(
        "AveragePool", (1, 2, size), ceil_mode=int(flags[0]), count_include_pad=include, **form
    ).agree()
    Case("Conv", (1, 2, size), (3, 2, kernel), **form).agree()


def test_outputs_that_are_left_out_are_not_asked_for():
    Case("LayerNormalization", (2, 3), (3,), outputs=("y", "", "")).agree()
    Case("MaxPool", X, kernel_shape=[2, 2], outputs=("y", "")).agree()
