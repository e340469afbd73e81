"""Bias correction: exact on its own data, kept on other data, layer after layer."""

import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.errors import DataError, RecipeError
from fewbits.graph import layers
from fewbits.model import Model, Stage
from fewbits.numerics import dequantize
from fewbits.outputmeans import (
    column_means,
    float_output_means,
    float_output_means_twice,
    output_means,
)
from fewbits.runtime import Session
from fewbits.testing import toys
from fewbits.testing.inspection import context
from fewbits.walk import Walk
from fewbits_ibc import outputs
from fewbits_ibc.algorithm import Ibc, IbcOptions, model_shifts
from fewbits_ibc.outputs import bounds, clipped_mean, respond

WITH_BIASES = [name for name in toys.TOYS if name != "matmul"]


def quantized(model: Model, precision: str = "a8_w4", **options) -> Model:
    step = UniformQuantizer(UniformOptions(precision=precision, **options))
    return step.apply(model, ready(model)).model


def ready(model: Model, count: int = 32, seed: int = 0):
    return context(CpuTarget(), toys.calibration(model, count, seed))


def size(shifts) -> float:
    return float(np.sqrt(sum(np.sum(s**2) for s in shifts.values())))


def pre_activations(network, inputs, model, *, activated=False):
    """Run a network with every layer's output in front of its activation among its outputs."""
    copy = network.clone()
    named = {
        layer.name: (layer.output if activated else layer.node.outputs[0]).name
        for layer in layers(model.graph)
    }
    values = {v.name: v for node in copy.graph for v in node.outputs}
    extra = [values[name] for name in named.values()]
    copy.graph.outputs.extend(v for v in extra if not v.is_graph_output())
    seen = Session(copy, threads=1).run(inputs)
    return {layer: seen[name] for layer, name in named.items()}


def channel_means(array) -> np.ndarray:
    axes = (0, *range(2, array.ndim))
    return array.mean(axis=axes, dtype=np.float64)


@pytest.mark.parametrize("toy", WITH_BIASES)
def test_means_agree_with_the_mean_of_what_the_float_network_computes(toy):
    model = toys.TOYS[toy]()
    setting = ready(model, 10)
    names = [layer.name for layer in layers(model.graph)]
    found = float_output_means(model, names, setting)
    seen = pre_activations(model.network, setting.calibration.inputs, model)
    for name in names:
        np.testing.assert_allclose(found[name], channel_means(seen[name]), atol=2e-6)


@pytest.mark.parametrize("toy", ["residual", "gemm", "depthwise"])
def test_means_behind_the_activation_of_the_first_samples_and_of_all(toy):
    model = toys.TOYS[toy]()
    setting = ready(model, 10)
    chosen = {layer.name: layer for layer in layers(model.graph)}
    first, whole = float_output_means_twice(model, list(chosen), 3, setting, activated=True)
    inputs = setting.calibration.inputs
    for count, found in ((3, first), (10, whole)):
        some = {name: array[:count] for name, array in inputs.items()}
        seen = pre_activations(model.network, some, model, activated=True)
        for name in chosen:
            np.testing.assert_allclose(found[name], channel_means(seen[name]), atol=2e-6)


@pytest.mark.parametrize("precision", ["a8_w4", "a16_w8"])
@pytest.mark.parametrize("toy", WITH_BIASES)
def test_the_clipped_mean_is_that_of_running_the_layer(toy, precision, monkeypatch):
    """Against a float convolution of every dequantized sample, clipped by numpy."""
    monkeypatch.setattr(outputs, "POSITIONS", 10_000)
    model = quantized(toys.TOYS[toy](), precision)
    data = toys.calibration(model, 6, seed=1)
    with Walk(model, data, reference=False, threads=1) as walk:
        for visit in walk:
            x = np.concatenate([visit.source.real(q) for q in visit.source.batches()])
            spread = (-1, *(1,) * (x.ndim - 2))
            z = run_node(visit.layer.node, x, visit.weight) + visit.bias.reshape(spread)
            low, high = (np.broadcast_to(b, len(visit.bias)).reshape(spread) for b in bounds(visit))
            expected = channel_means(np.clip(z, low, high))
            np.testing.assert_allclose(clipped_mean(visit, visit.bias, 1), expected, atol=1e-5)
            head, response = respond(visit, visit.bias, 5, 1)
            np.testing.assert_allclose(head, channel_means(np.clip(z, low, high)[:5]), atol=1e-5)
            np.testing.assert_allclose(response.rest, head, atol=1e-5)


def test_bounds_are_those_of_activation_and_encoding():
    model = quantized(toys.conv_chain(), "a8_w8")
    with Walk(model, toys.calibration(model, 2), reference=False, threads=1) as walk:
        for visit in walk:
            low, high = bounds(visit)
            ends = dequantize(np.array([0, 255]), visit.output_encoding)
            assert low == max(ends[0], 0.0 if visit.layer.activation is not None else -np.inf)
            assert high == ends[1]


@pytest.mark.parametrize("precision", ["a8_w4", "a16_w8"])
@pytest.mark.parametrize("toy", WITH_BIASES)
def test_the_quantized_mean_is_that_of_running_the_layer(toy, precision):
    """`W·E[x̂] + b` against a float convolution of every dequantized sample."""
    model = quantized(toys.TOYS[toy](), precision)
    data = toys.calibration(model, 6, seed=1)
    with Walk(model, data, reference=False, threads=1) as walk:
        for visit in walk:
            means = column_means(visit.layer, visit.source)
            found = output_means(visit.layer, visit.weight, means)
            x = np.concatenate([visit.source.real(q) for q in visit.source.batches()])
            node = visit.layer.node
            z = run_node(node, x, visit.weight)
            np.testing.assert_allclose(found, channel_means(z), atol=1e-5)


def run_node(node, x, weight):
    """Run one weighted op without bias in ONNX Runtime."""
    import onnx_ir as ir
    from fewbits.graph import add_constant

    source = ir.Value(name="x", shape=ir.Shape(x.shape), type=ir.TensorType(ir.DataType.FLOAT))
    graph = ir.Graph([source], [], nodes=[], opset_imports={"": 21}, name="one")
    held = add_constant(graph, "w", weight)
    new = ir.node(node.op_type, [source, held], attributes=dict(node.attributes))
    new.outputs[0].name, new.outputs[0].type = "y", ir.TensorType(ir.DataType.FLOAT)
    graph.append(new)
    graph.outputs.append(new.outputs[0])
    return Session(ir.Model(graph, ir_version=10), threads=1).run({"x": x})["y"]


@pytest.mark.parametrize("toy", ["residual", "concat", "conv_transpose", "gemm", "conv1d"])
def test_in_front_of_the_activation_half_a_step_of_the_bias_is_left_at_most(toy):
    model = quantized(toys.TOYS[toy](), bias_correction=False)
    setting = ready(model)
    options = IbcOptions(match="pre_activation", snr_samples=0)
    corrected = Ibc(options).apply(model, setting).model
    left, before = (model_shifts(m, setting, "pre_activation") for m in (corrected, model))
    assert size(left) < size(before) / 10
    for layer in layers(corrected.graph):
        step = corrected.encodings[str(layer.bias.name)].scale
        assert (np.abs(left[layer.name]) <= 0.5001 * step).all()


@pytest.mark.parametrize("toy", ["conv_chain", "residual", "depthwise", "concat", "gemm"])
def test_behind_the_activation_next_to_nothing_is_left_on_its_own_data(toy):
    model = quantized(toys.TOYS[toy](), bias_correction=False)
    setting = ready(model, 64)
    corrected = Ibc(IbcOptions(match="activation", snr_samples=0)).apply(model, setting).model
    left, before = (model_shifts(m, setting) for m in (corrected, model))
    assert size(left) < size(before) / 10


def test_what_the_report_says_is_left_is_left():
    model = quantized(toys.residual(), bias_correction=False)
    setting = ready(model, 128)
    result = Ibc(IbcOptions(match="activation", snr_samples=0)).apply(model, setting)
    left = model_shifts(result.model, setting)
    for note in result.report.layers:
        found = float(np.sqrt(np.mean(left[note.layer] ** 2)))
        assert found == pytest.approx(note.values["shift_after"], rel=0.2, abs=2e-4)


@pytest.mark.parametrize("match", ["activation", "pre_activation"])
def test_on_other_data_the_shift_is_smaller(match):
    for toy in ("conv_chain", "residual", "depthwise"):
        model = quantized(toys.TOYS[toy](), bias_correction=False)
        corrected = Ibc(IbcOptions(match=match)).apply(model, ready(model, 256)).model
        other = ready(model, 256, seed=1)
        before, after = (size(model_shifts(m, other, match)) for m in (model, corrected))
        assert after < before / 3


def test_later_layers_see_the_earlier_corrections():
    """With everything upstream left as it was, the last bias would come out differently."""
    model = quantized(toys.conv_chain(), bias_correction=False)
    setting = ready(model)
    last = list(model.precisions)[-1]
    whole = Ibc().apply(model, setting).model
    alone = Ibc(IbcOptions(layers=(last,))).apply(model, setting).model
    biases = [
        layer.bias.const_value.numpy()
        for each in (whole, alone)
        for layer in layers(each.graph)
        if layer.name == last
    ]
    assert not np.array_equal(*biases)


def test_weights_and_activation_encodings_stay():
    model = quantized(toys.residual())
    new = Ibc().apply(model, ready(model)).model
    biases = {str(layer.bias.name) for layer in layers(new.graph)}
    for name, encoding in model.encodings.items():
        assert new.encodings[name].equals(encoding)
    for name, value in model.graph.initializers.items():
        if name not in biases:
            same = new.graph.initializers[name].const_value.numpy()
            np.testing.assert_array_equal(same, value.const_value.numpy())


def test_layers_without_a_bias_get_one():
    model = quantized(toys.shared_weights(), bias_correction=False)
    assert any(layer.bias is None for layer in layers(model.graph))
    new = Ibc().apply(model, ready(model)).model
    assert all(layer.bias is not None for layer in layers(new.graph))
    assert new.stage is Stage.QUANTIZED


def test_the_report_has_shift_and_noise_by_layer():
    model = quantized(toys.residual(), bias_correction=False)
    report = Ibc().apply(model, ready(model)).report
    for note in report.layers:
        assert note.action == "corrected"
        assert note.values["shift_after"] < note.values["shift_before"]
        assert {"snr_before_db", "snr_after_db"} <= note.values.keys()
    assert report.metrics["layers"] == len(model.precisions)
    quiet = Ibc(IbcOptions(snr_samples=0)).apply(model, ready(model)).report
    assert all("snr_after_db" not in note.values for note in quiet.layers)


def test_a_matmul_is_left_alone_with_the_reason():
    model = quantized(toys.matmul())
    result = Ibc().apply(model, ready(model))
    assert not result.report.changed
    assert {note.reason for note in result.report.layers} == {"a MatMul has no bias"}


def test_wrong_names_and_counts_are_refused():
    model = quantized(toys.gemm())
    with pytest.raises(RecipeError, match="no layer matches 'cnv'"):
        Ibc(IbcOptions(layers=("cnv",))).apply(model, ready(model))
    with pytest.raises(DataError, match="fewer than the 64 asked for"):
        Ibc(IbcOptions(samples=64)).apply(model, ready(model))
