"""What cannot be trained through is said, with the node, the op, the form and the remedy."""

import onnx_ir as ir
import pytest
from fewbits.errors import ModelError

torch = pytest.importorskip("torch")
from fewbits.trainable.ops import OPS, op_of  # noqa: E402

X = (1, 4, 6, 6)
CUBE = (1, 1, 2, 2, 2, 2)
HALF = torch.tensor([1.0, 1.0, 0.5, 0.5])
FLOAT8 = int(ir.DataType.FLOAT8E4M3FN)
UNKNOWN = [
    ("Conv", "over 4 dimensions", [CUBE, (1, 1, 1, 1, 1, 1)], {}),
    ("ConvTranspose", "over 4 dimensions", [CUBE, (1, 1, 1, 1, 1, 1)], {}),
    ("AveragePool", "over 4 dimensions", [CUBE], {"kernel_shape": [1, 1, 1, 1]}),
    ("MaxPool", "with its output 'y1'", [X], {"kernel_shape": [2, 2]}),
    ("LayerNormalization", "with its output 'y1'", [X, (6,)], {}),
    ("BatchNormalization", "with training_mode=1", [X, *[(4,)] * 4], {"training_mode": 1}),
    ("LRN", "with size=4", [X], {"size": 4}),
    ("Resize", "with antialias=1", [X, None, HALF], {"antialias": 1}),
    ("Resize", "with mode=other", [X, None, HALF], {"mode": "other"}),
    ("Resize", "with nearest_mode=other", [X, None, HALF], {"nearest_mode": "other"}),
    (
        "Resize",
        "with coordinate_transformation_mode=tf_crop_and_resize",
        [X, None, HALF],
        {"coordinate_transformation_mode": "tf_crop_and_resize"},
    ),
    ("ReduceSum", "with noop_with_empty_axes=1", [X], {"noop_with_empty_axes": 1}),
    ("Cast", "to FLOAT8E4M3FN", [X], {"to": FLOAT8}),
    ("Pad", "with mode=edge and pads [-1, 1]", [(3,), torch.tensor([-1, 1])], {"mode": "edge"}),
    ("Constant", "with value_string", [], {"value_string": "word"}),
]


@pytest.mark.parametrize(("op", "said", "inputs", "attributes"), UNKNOWN)
def test_a_form_that_is_not_known_is_named(op, said, inputs, attributes):
    values = [ir.Value(name=f"x{i}") for i in range(len(inputs))]
    node = ir.node(op, values, attributes, num_outputs=2, name="here")
    for place, value in enumerate(node.outputs):
        value.name = f"y{place}"
    ir.node("Relu", [node.outputs[1]])
    held = [torch.ones(x) if isinstance(x, tuple) else x for x in inputs]
    with pytest.raises(ModelError) as caught:
        op_of(node)(node, held)
    assert caught.value.message == f"Op {op} {said} of node 'here' cannot be trained through."
    assert "ibc, gptq, adaround" in caught.value.hint


def test_an_op_that_is_not_known_is_named():
    with pytest.raises(ModelError, match="Op LSTM of node 'rnn' cannot be trained through"):
        op_of(ir.node("LSTM", [ir.Value(name="x")], name="rnn"))
    with pytest.raises(ModelError, match="Op my::Conv of node '→ y'"):
        op_of(ir.Node("my", "Conv", [], outputs=[ir.Value(name="y")]))


def test_the_standard_domain_has_two_names():
    assert op_of(ir.node("Conv", [])) is OPS["Conv"]
    assert op_of(ir.Node("ai.onnx", "Conv", [])) is OPS["Conv"]
