"""Noise per layer against the networks' own outputs."""

import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformQuantizer
from fewbits.errors import ModelError
from fewbits.graph import layers
from fewbits.model import Stage
from fewbits.noise import layer_snr
from fewbits.testing import toys
from fewbits.testing.inspection import context, float_outputs, snr_db


def quantized(model):
    return UniformQuantizer().apply(model, context(CpuTarget(), toys.calibration(model))).model


@pytest.mark.parametrize("toy", ["conv_chain", "gemm", "two_outputs"])
def test_the_noise_of_a_layer_that_writes_an_output_is_the_emulators(toy):
    model = toys.TOYS[toy]()
    data = toys.calibration(model, 10, seed=3)
    after = quantized(model)
    before = float_outputs(after.at(Stage.OPTIMIZED), data.inputs)
    seen = CpuTarget().emulator(after).run(data.inputs)
    writers = {layer.output.name: layer.name for layer in layers(after.graph)}
    found = {each.layer: each.snr_db for each in layer_snr(after, data, batch_size=3)}
    assert list(found) == list(after.precisions)
    for name in before:
        wanted = snr_db(before[name], seen[name])
        assert found[writers[name]] == pytest.approx(wanted, abs=1e-3)


def test_progress_is_told_after_each_batch():
    model = toys.conv_chain()
    told = []
    layer_snr(
        quantized(model),
        toys.calibration(model, 7),
        batch_size=3,
        progress=lambda *event: told.append(event),
    )
    assert told == [("noise", done, 7, "images") for done in (0, 3, 6, 7)]


def test_a_float_model_is_refused():
    model = toys.conv_chain()
    with pytest.raises(ModelError, match="quantized model only"):
        layer_snr(model, toys.calibration(model))
