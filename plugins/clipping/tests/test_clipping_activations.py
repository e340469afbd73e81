"""Outputs of layers end at the bounds that were asked for, and nothing else changes."""

import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.errors import RecipeError
from fewbits.graph import clip_bounds, layers
from fewbits.plugins import discover
from fewbits.recipe import Recipe, parse_step
from fewbits.runner import check
from fewbits.runtime import Session
from fewbits.testing import toys
from fewbits.testing.inspection import context
from fewbits.testing.net import Net
from fewbits_clipping.activations import ActivationClipping, ActivationClippingOptions
from pydantic import ValidationError


def clipped(model, **options):
    algorithm = ActivationClipping(ActivationClippingOptions(**options))
    return algorithm.apply(model, context(CpuTarget(), toys.calibration(model)))


def run(model, outputs):
    network = model.network.clone()
    values = {str(v.name): v for node in network.graph for v in node.outputs}
    network.graph.outputs.extend(values[n] for n in outputs if not values[n].is_graph_output())
    data = toys.calibration(model).inputs
    return Session(network, threads=1, outputs=outputs).run(data)


def plain():
    """A convolution with a spread output that several nodes read: SiLU, then another."""
    net = Net("plain")
    x = net.conv(net.input("image", 3, 12, 12), 3, 8)
    x = net.op("Mul", x, net.op("Sigmoid", x))
    net.output(net.conv(x, 8, 4, 1), 4, 12, 12)
    return net.build()


def test_percentiles_are_those_of_the_calibration_values():
    model = plain()
    first = next(layers(model.graph))
    (values,) = run(model, [str(first.output.name)]).values()
    result = clipped(model, clipping_values=(5, 90))
    note = result.report.layers[0]
    span = float(values.max() - values.min())
    expected = np.percentile(values, [5, 90])
    assert (note.values["low"], note.values["high"]) == pytest.approx(expected, abs=span / 500)
    assert note.values["share"] == pytest.approx(0.15, abs=0.01)


def test_the_network_computes_as_if_the_layer_were_clipped():
    model = plain()
    result = clipped(model, clipping_values=(5, 90))
    note = result.report.layers[0]
    first, last = layers(model.graph)
    (values,) = run(model, [str(first.output.name)]).values()
    (after,) = run(result.model, [str(first.output.name)]).values()
    bounds = note.values["low"], note.values["high"]
    np.testing.assert_array_equal(after, np.clip(values, *bounds))
    silu = after / (1 + np.exp(-after.astype(np.float64)))
    weight = last.weight.const_value.numpy()[:, :, 0, 0].astype(np.float64)
    bias = last.bias.const_value.numpy()[:, None, None]
    (output,) = run(result.model, [str(last.output.name)]).values()
    expected = np.einsum("oc,nchw->nohw", weight, silu) + bias
    np.testing.assert_allclose(output, expected, atol=1e-4)


def test_every_clip_is_fused_to_its_layer():
    result = clipped(toys.conv_chain(), mode="percentile_force", clipping_values=(5, 95))
    found = list(layers(result.model.graph))
    assert [layer.activation.op_type for layer in found] == ["Clip"] * 3
    notes = {note.layer: note for note in result.report.layers}
    for layer in found:
        bounds = clip_bounds(layer.activation)
        assert bounds == (notes[layer.name].values["low"], notes[layer.name].values["high"])
    assert [node.op_type for node in result.model.graph] == ["Conv", "Clip"] * 3
    assert clip_bounds(found[0].activation)[0] == 0.0, "what the ReLU cut off stays cut off"


@pytest.mark.parametrize("relu", [True, False])
def test_bounds_that_differ_by_channel_hold_on(relu):
    net = Net("bounded")
    x = net.conv(net.input("image", 3, 12, 12), 3, 4)
    x = net.op("Relu", x) if relu else x
    limits = np.array([0.5, 1.0, 1.5, 9.0], np.float32).reshape(1, 4, 1, 1)
    x = net.op("Min", x, net.constant(limits), name="limit")
    net.output(net.conv(x, 4, 2, 1), 2, 12, 12)
    model = net.build()
    result = clipped(model, mode="manual", clipping_values=(-0.25, 1.25))
    (before,), (after,) = (run(m, ["limit_out"]).values() for m in (model, result.model))
    np.testing.assert_array_equal(after, np.clip(before, -0.25, 1.25))
    layer = next(layers(result.model.graph))
    assert (layer.activation.op_type, layer.bound.name) == ("Clip", "limit")


def test_outputs_of_the_network_are_clipped_only_by_force():
    model = toys.conv_chain()
    last = list(layers(model.graph))[-1].name
    by = {m: clipped(model, mode=m) for m in ("percentile", "percentile_force")}
    notes = {mode: result.report.layers[-1] for mode, result in by.items()}
    assert {note.layer for note in notes.values()} == {last}
    assert (notes["percentile"].action, notes["percentile_force"].action) == ("kept", "clipped")
    assert "output of the network" in notes["percentile"].reason


def test_bounds_by_hand_hold_for_the_layers_named():
    model = toys.conv_chain()
    first, *others = [layer.name for layer in layers(model.graph)]
    result = clipped(model, layers=(first,), mode="manual", clipping_values=(-1, 0.5))
    actions = {note.layer: (note.action, note.reason) for note in result.report.layers}
    assert actions[first][0] == "clipped"
    assert all(actions[name] == ("kept", "it was not asked for") for name in others)
    assert clip_bounds(next(layers(result.model.graph)).activation) == (0.0, 0.5)


def test_bounds_that_no_value_passes_change_nothing():
    result = clipped(toys.conv_chain(), mode="manual", clipping_values=(-1e3, 1e3))
    assert result.report.changed is False
    assert {note.reason for note in result.report.layers} == {"none of its values lies outside"}
    assert clipped(toys.conv_chain(), mode="disabled").report.changed is False


def test_the_quantized_range_ends_at_the_bounds():
    model = plain()
    result = clipped(model, clipping_values=(1, 99))
    note = result.report.layers[0]
    tensor = str(next(layers(model.graph)).output.name)
    quantizer = UniformQuantizer(UniformOptions(activation_range="minmax"))
    data = context(CpuTarget(), toys.calibration(model))
    encoding = quantizer.apply(result.model, data).model.encodings[tensor]
    span = float(encoding.scale) * 255
    assert span == pytest.approx(note.values["high"] - note.values["low"], rel=0.01)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "manual", "clipping_values": (1, 2)},
        {"mode": "percentile", "clipping_values": (-1, 99)},
        {"mode": "percentile", "clipping_values": (99, 1)},
    ],
)
def test_bounds_that_make_no_sense_are_refused(options):
    with pytest.raises(ValidationError, match="clipping_values"):
        ActivationClippingOptions(**options)


def test_a_glob_that_matches_nothing_is_an_error():
    with pytest.raises(RecipeError, match="no layer matches 'cnv_0'") as caught:
        clipped(toys.conv_chain(), layers=("cnv_0",))
    assert "conv_0" in caught.value.hint


@pytest.mark.parametrize("step", ["activation_clipping", "weight_clipping"])
def test_clipping_after_quantization_is_an_error_before_anything_runs(step):
    recipe = Recipe((parse_step("quantize"), parse_step(step)))
    with pytest.raises(RecipeError, match="works in full precision"):
        check(toys.conv_chain(), recipe, discover())
