"""`output_activation` and `logits`: outputs end in what was asked for."""

import math

import numpy as np
import pytest
from fewbits.errors import ModelError, RecipeError
from fewbits.testing import AlgorithmContract, toys
from fewbits.testing.inspection import assert_valid, context, float_outputs
from fewbits.testing.net import Net
from fewbits_editing.options import Activation, LogitsOptions, OutputActivationOptions
from fewbits_editing.outputs import Logits, OutputActivation


def expit(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis):
    shares = np.exp(x - x.max(axis=axis, keepdims=True))
    return shares / shares.sum(axis=axis, keepdims=True)


NUMPY = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky": lambda x: np.where(x < 0, 0.1 * x, x),
    "elu": lambda x: np.where(x < 0, np.expm1(x), x),
    "sigmoid": expit,
    "hardsigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "tanh": np.tanh,
    "softplus": lambda x: np.log1p(np.exp(x)),
    "silu": lambda x: x * expit(x),
    "hardswish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "gelu": lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / np.sqrt(2))),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "softmax": lambda x: softmax(x, axis=-1),
}


def activation(name, **options):
    return OutputActivation(OutputActivationOptions(activation=name, **options))


class TestSigmoid(AlgorithmContract):
    toys = tuple(name for name in toys.TOYS if name != "softmax")

    @pytest.fixture
    def algorithm(self):
        return activation("sigmoid")

    def edited(self, algorithm, outputs):
        return {name: expit(y) for name, y in outputs.items()}


class TestSoftmax(AlgorithmContract):
    toys = tuple(name for name in toys.TOYS if name != "softmax")

    @pytest.fixture
    def algorithm(self):
        return Logits()

    def edited(self, algorithm, outputs):
        return {name: softmax(y, axis=1) for name, y in outputs.items()}


class TestArgmax(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return Logits(LogitsOptions(kind="argmax"))

    def edited(self, algorithm, outputs):
        return {name: y.argmax(axis=1, keepdims=True) for name, y in outputs.items()}


class TestLinear(AlgorithmContract):
    toys = ("conv_chain", "gemm", "two_outputs")

    @pytest.fixture
    def algorithm(self):
        return activation("linear")


def head(op="", **attributes):
    """A convolution, another op if asked for, and the output."""
    net = Net(f"head_{op}")
    x = net.conv(net.input("image", 3, 6, 6), 3, 4)
    x = net.op(op, x, name="old", **attributes) if op else x
    net.output(x, 4, 6, 6)
    return net.build()


def image(seed=0):
    return {"image": 3 * np.random.default_rng(seed).normal(size=(2, 3, 6, 6)).astype(np.float32)}


def run(model, data=None):
    return float_outputs(model, data or image())[model.output_names[0]]


def edit(algorithm, model):
    return algorithm.apply(model, context(None)).model


@pytest.mark.parametrize(
    "old", ["", "Relu", "Sigmoid", "Softmax", "LeakyRelu", "HardSwish", "Tanh"]
)
@pytest.mark.parametrize("name", Activation.__args__)
def test_any_activation_comes_in_the_place_of_any_other(name, old):
    logits = run(head()) if not old else run(edit(activation("linear"), head(old)))
    edited = edit(activation(name), head(old))
    assert_valid(edited)
    assert np.allclose(run(edited), NUMPY[name](logits.astype(np.float64)), atol=1e-5)


def test_linear_takes_the_activation_off():
    model = head("Sigmoid")
    outcome = activation("linear").apply(model, context(None))
    assert [node.op_type for node in outcome.model.graph] == ["Conv"]
    assert outcome.model.output_names == model.output_names
    assert np.allclose(expit(run(outcome.model)), run(model), atol=1e-6)
    (note,) = outcome.report.layers
    assert note.values == {"output": "old_out", "was": "sigmoid", "is": "linear"}


def test_silu_and_clips_are_taken_off_whole():
    net = Net("endings")
    image = net.input("image", 3, 6, 6)
    x = net.conv(image, 3, 4)
    net.output(net.op("Mul", x, net.op("Sigmoid", x)), 4, 6, 6)
    bounds = [net.constant(np.asarray(b, np.float32)) for b in (-1, 1)]
    net.output(net.op("Clip", net.conv(image, 3, 2), *bounds), 2, 6, 6)
    edited = edit(activation("linear"), net.build())
    assert [node.op_type for node in edited.graph] == ["Conv", "Conv"]
    assert_valid(edited)


def test_what_stands_there_already_is_left_alone():
    outcome = activation("sigmoid").apply(head("Sigmoid"), context(None))
    assert not outcome.report.changed
    assert "sigmoid already" in outcome.report.layers[0].reason
    steeper = activation("leaky", alpha=0.3).apply(head("LeakyRelu", alpha=0.1), context(None))
    assert steeper.report.changed
    assert not activation("leaky").apply(head("LeakyRelu", alpha=0.1), context(None)).report.changed


def test_other_readers_of_an_output_go_on_reading_it():
    net = Net("read_inside")
    x = net.op("Relu", net.conv(net.input("image", 3, 6, 6), 3, 4), name="old")
    net.output(x, 4, 6, 6)
    net.output(net.conv(x, 4, 2), 2, 6, 6)
    model = net.build()
    edited = edit(activation("linear", layers="old"), model)
    before, after = float_outputs(model, image()), float_outputs(edited, image())
    first, second = model.output_names
    assert np.array_equal(np.maximum(after[first], 0), before[first])
    assert np.array_equal(after[second], before[second])


def test_an_output_of_an_input_or_of_an_output_gets_a_node_of_its_own():
    net = Net("straight")
    x = net.input("image", 3, 6, 6)
    net.output(net.op("Relu", x), 3, 6, 6)
    conv = net.conv(x, 3, 2)
    net.output(conv, 2, 6, 6)
    net.output(net.op("Tanh", conv), 2, 6, 6)
    edited = edit(activation("linear"), net.build())
    assert_valid(edited)
    outputs = float_outputs(edited, image())
    names = edited.output_names
    assert np.array_equal(outputs[names[0]], image()["image"])
    assert np.array_equal(outputs[names[1]], outputs[names[2]])


@pytest.mark.parametrize("layers", ["gemm_6_out", "gemm_*", "gemm_6"])
def test_outputs_are_named_by_themselves_or_by_their_layers(layers):
    model = toys.two_outputs()
    name = next(n for n in model.output_names if n.startswith("gemm"))
    layers = layers.replace("gemm_6", name.removesuffix("_out"))
    outcome = activation("sigmoid", layers=layers).apply(model, context(None))
    assert [note.values["output"] for note in outcome.report.layers] == [name]


def test_a_name_that_matches_nothing_is_an_error():
    with pytest.raises(RecipeError, match="no output") as caught:
        edit(activation("sigmoid", layers="conv_9"), toys.two_outputs())
    assert "gemm" in caught.value.hint


def test_softmax_has_an_axis():
    edited = edit(Logits(LogitsOptions(axis=3)), head())
    assert np.allclose(run(edited), softmax(run(head()), axis=3), atol=1e-6)
    with pytest.raises(ModelError, match="axis 4"):
        edit(Logits(LogitsOptions(axis=4)), head())


def test_argmax_takes_a_softmax_off_and_gives_whole_numbers():
    model = head("Softmax", axis=1)
    edited = edit(Logits(LogitsOptions(kind="argmax")), model)
    assert [node.op_type for node in edited.graph] == ["Conv", "ArgMax"]
    found = run(edited)
    assert found.dtype == np.int64
    assert np.array_equal(found, run(model).argmax(axis=1, keepdims=True))
    with pytest.raises(ModelError, match="floats"):
        edit(activation("sigmoid"), edited)


def test_softmax_comes_behind_what_stands_there():
    edited = edit(Logits(), head("Relu"))
    assert [node.op_type for node in edited.graph] == ["Conv", "Relu", "Softmax"]
