"""The algorithm on toy networks of 4-bit weights."""

import sys

import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.errors import DataError, ModelError, PluginError, RecipeError
from fewbits.graph import constant, layers
from fewbits.numerics import fake_quantize
from fewbits.options import build
from fewbits.testing import toys
from fewbits.testing.algorithm import masked
from fewbits.testing.inspection import context, float_outputs, snr_db

pytest.importorskip("torch")

from fewbits_adaround.algorithm import AdaRound
from fewbits_adaround.options import AdaRoundOptions

TARGET = CpuTarget()


def quantized(model, data, **options):
    options = {"precision": "a8_w4", **options}
    return UniformQuantizer(UniformOptions(**options)).apply(model, context(TARGET, data)).model


def rounded(model, data, **options):
    options = {"epochs": 40, **options}
    result = AdaRound(AdaRoundOptions(**options)).apply(model, context(TARGET, data))
    return result.model, result.report


def emulated_snr(given, model):
    inputs = toys.calibration(given, 64, seed=7).inputs
    before, after = float_outputs(given, inputs), TARGET.emulator(model, threads=1).run(inputs)
    return np.mean([snr_db(before[name], after[name]) for name in before])


def test_outputs_on_other_data_come_closer_to_the_float_ones():
    gains = []
    for toy in ("conv_chain", "residual", "gemm", "concat"):
        given = toys.TOYS[toy]()
        data = toys.calibration(given, 128)
        plain = quantized(given, data)
        model, _ = rounded(plain, data)
        gains.append(emulated_snr(given, model) - emulated_snr(given, plain))
    assert min(gains) > -0.2
    assert np.mean(gains) > 0.5


def test_every_weight_is_one_of_the_two_integers_beside_the_float_one():
    given = toys.conv_chain()
    data = toys.calibration(given, 64)
    model, report = rounded(quantized(given, data), data)
    floats = {layer.name: np.asarray(constant(layer.weight)) for layer in layers(given.graph)}
    assert any(note.values.get("flipped", 0) > 0 for note in report.layers)
    for layer in layers(model.graph):
        weight, encoding = np.asarray(constant(layer.weight)), model.encodings[layer.weight.name]
        assert np.array_equal(fake_quantize(weight, encoding), weight)
        scale = encoding.scale.reshape(-1, *[1] * (weight.ndim - 1))
        steps = floats[layer.name] / scale
        inside = np.abs(steps) < encoding.qmax
        assert np.abs(weight / scale - steps)[inside].max() < 1.0 + 1e-4
        assert np.abs(weight / scale).max() <= encoding.qmax + 1e-4


def test_pruned_weights_stay_zero():
    given = masked(toys.conv_chain())
    data = toys.calibration(given, 32)
    model, _ = rounded(quantized(given, data), data)
    for name, mask in model.masks.items():
        assert not np.asarray(constant(model.graph.initializers[name]))[~mask].any()


def test_layers_of_8_bits_are_left_alone_unless_all_are_asked_for():
    given = toys.conv_chain()
    data = toys.calibration(given, 32)
    first = next(layers(given.graph)).name
    mixed = quantized(given, data, layers={first: "a8_w8"})
    _, report = rounded(mixed, data)
    notes = {note.layer: note for note in report.layers}
    assert "train_4bit" in notes[first].reason
    assert sum(note.action == "left" for note in report.layers) == 1
    _, report = rounded(mixed, data, mode="train_all")
    assert not [note for note in report.layers if note.action == "left"]
    _, report = rounded(mixed, data, layers=("conv_2",))
    assert [note.layer for note in report.layers if note.action != "left"] == ["conv_2"]


def test_settled_shares_are_reported_by_layer():
    given = toys.gemm()
    data = toys.calibration(given, 128)
    _, report = rounded(quantized(given, data), data, epochs=150)
    for note in report.layers:
        assert note.values["settled"] >= 0.9
        assert note.values["snr_after_db"] >= note.values["snr_before_db"]
    assert report.metrics["unsettled"] == sum(n.values["unsettled"] for n in report.layers)


def test_it_may_start_from_the_rounding_there_is():
    given = toys.conv_chain()
    data = toys.calibration(given, 64)
    once, _ = rounded(quantized(given, data), data)
    again, report = rounded(once, data, start="current")
    assert emulated_snr(given, again) > emulated_snr(given, once) - 0.5
    assert report.summary


def test_more_samples_than_asked_for_are_not_read():
    given = toys.gemm()
    data = toys.calibration(given, 64)
    _, report = rounded(quantized(given, data), data, dataset_size=16)
    assert report.metrics["samples"] == 16


def test_a_float_model_no_data_and_unknown_layers_are_errors():
    given = toys.conv_chain()
    data = toys.calibration(given, 8)
    with pytest.raises(ModelError, match="not quantized"):
        rounded(given, data)
    with pytest.raises(DataError, match="calibration"):
        rounded(quantized(given, data), None)
    with pytest.raises(RecipeError, match="no layer matches") as caught:
        rounded(quantized(given, data), data, layers=("conv_9",))
    assert "conv_0" in caught.value.hint


def test_without_torch_the_error_says_what_to_install(monkeypatch):
    import fewbits

    given = toys.conv_chain()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises((PluginError, RecipeError)) as caught:
        fewbits.optimize(
            given, calibration=toys.calibration(given, 8), recipe=["quantize", "adaround"]
        )
    assert "fewbits[qft]" in caught.value.message + caught.value.hint


@pytest.mark.parametrize("value", [(2.0, 20.0), (5.0, 0.0)])
def test_a_beta_that_does_not_fall_is_refused(value):
    with pytest.raises(RecipeError, match="fall"):
        build(AdaRoundOptions, {"b_range": value}, owner="step 'adaround'")
