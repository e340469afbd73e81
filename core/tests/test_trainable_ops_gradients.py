"""Gradients of the ops that are written by hand are those of finite differences."""

import onnx_ir as ir
import pytest

torch = pytest.importorskip("torch")
from fewbits.trainable.ops import op_of  # noqa: E402


def node(op, count=1, **attributes):
    inputs = [ir.Value(name=f"x{i}") for i in range(count)]
    return ir.node(op, inputs, attributes, num_outputs=1, name="a")


def ints(*numbers):
    return torch.tensor(numbers)


def positive(*shape):
    return 0.2 + torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def drawn(*shape):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


X = (1, 2, 5, 4)
SMALL = (1, 2, 3, 2)
SCALES = torch.tensor([1.0, 1.0, 1.7, 0.6])
FURTHER = {"pads": [1, 0, 1, 0], "strides": [1, 2], "output_padding": [0, 1]}
PADDED = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 0, 1], "ceil_mode": 1}
FORMS = [
    ("Conv", [SMALL, (2, 1, 3, 3), (2,)], {"group": 2, "pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ("ConvTranspose", [SMALL, (2, 2, 3, 2), (2,)], {"pads": [0, 1, 1, 0], "strides": [2, 2]}),
    ("ConvTranspose", [SMALL, (2, 1, 3, 2)], FURTHER),
    ("Gemm", [(4, 3), (2, 4), (2,)], {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("LayerNormalization", [(2, 3, 4), (1, 4), (3, 1)], {"axis": 1}),
    ("InstanceNormalization", [SMALL, (2,), (2,)], {}),
    ("LpNormalization", [(3, 4)], {"axis": 1, "p": 2}),
    ("LRN", [X], {"size": 3, "alpha": 0.5}),
    ("PRelu", [X, (2, 1, 1)], {}),
    ("Selu", [(3, 4)], {"alpha": 1.2, "gamma": 0.9}),
    ("HardSigmoid", [(3, 4)], {}),
    ("Shrink", [(3, 4)], {"bias": 0.1}),
    ("ThresholdedRelu", [(3, 4)], {"alpha": 0.3}),
    ("Clip", [(3, 4), torch.tensor(-0.3), torch.tensor(0.6)], {}),
    ("Clip", [(3, 4), drawn(3, 1) - 1, drawn(1, 4) + 1], {}),
    ("Pow", [positive(3, 4), torch.tensor(2.5)], {}),
    ("Mean", [(3, 4), (4,)], {}),
    ("MaxPool", [X], PADDED),
    ("AveragePool", [(1, 1, 4, 4)], PADDED),
    ("AveragePool", [X], {"kernel_shape": [2, 2], "dilations": [2, 1], "pads": [1, 1, 1, 1]}),
    ("ReduceProd", [positive(2, 3, 2), ints(0, 2)], {}),
    ("ReduceLogSum", [positive(2, 3, 2), ints(-1)], {"keepdims": 0}),
    ("CumSum", [(2, 3), torch.tensor(1)], {"exclusive": 1, "reverse": 1}),
    ("Slice", [X, ints(4, 0), ints(0, 3), ints(2, 3), ints(-2, 2)], {}),
    ("Pad", [X, ints(0, 0, 2, 1, 0, 0, 1, 3)], {"mode": "reflect"}),
    ("Pad", [X, ints(0, 0, -1, 1, 0, 0, 1, 0)], {}),
    ("Gather", [X, ints(-1, 0, -1)], {"axis": 2}),
    ("GatherElements", [(3, 2), ints(-1, 0, 1, 0).reshape(2, 2)], {"axis": 0}),
    ("Expand", [(3, 1), ints(2, 1, 4)], {}),
    ("DepthToSpace", [(1, 8, 2, 3)], {"blocksize": 2}),
    ("SpaceToDepth", [(1, 2, 4, 2)], {"blocksize": 2}),
    *(("Resize", [X, None, SCALES], {"mode": mode}) for mode in ("nearest", "linear", "cubic")),
    ("Resize", [X, None, torch.tensor([1.0, 1.0, 2.0, 2.0])], {"mode": "linear"}),
]


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"), FORMS, ids=[f"{op} {kind}" for op, _, kind in FORMS]
)
def test_gradients_are_finite_differences(op, inputs, attributes):
    inputs = [drawn(*x) if isinstance(x, tuple) else x for x in inputs]
    free = [i for i, x in enumerate(inputs) if x is not None and x.dtype == torch.float64]
    one = node(op, len(inputs), **attributes)

    def run(*values):
        held = dict(zip(free, values, strict=True))
        return tuple(op_of(one)(one, [held.get(i, x) for i, x in enumerate(inputs)]))

    leaves = [inputs[i].clone().requires_grad_() for i in free]
    assert torch.autograd.gradcheck(run, leaves)
