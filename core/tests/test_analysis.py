"""Noise analysis against closed forms, against itself and against the emulator."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fewbits.analysis import analyze
from fewbits.analysis.places import places
from fewbits.analysis.watched import grid_snr
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformQuantizer
from fewbits.data import ArrayDataset
from fewbits.errors import DataError, ModelError, RecipeError, TargetError, UsageError
from fewbits.graph import layers, set_constant
from fewbits.interfaces import Finding
from fewbits.model import Encoding, Stage
from fewbits.ongrid import float_twin
from fewbits.testing import toys
from fewbits.testing.inspection import context, float_outputs, snr_db
from fewbits.testing.net import Net


def quantized(model, **options):
    step = UniformQuantizer(UniformQuantizer.Options(**options))
    return step.apply(model, context(CpuTarget(), toys.calibration(model))).model


def measured(model, mode="simple", count=10, **options):
    data = toys.calibration(model, count, seed=3)
    return analyze(model, data, CpuTarget(), mode=mode, threads=1, **options)


def only(model, name):
    """Return a quantized model in which one layer alone is quantized: its weights and output."""
    layer = next(each for each in layers(model.graph) if each.name == name)
    held = [str(v.name) for v in (layer.weight, layer.bias, layer.output) if v is not None]
    network = float_twin(model)
    for value in (layer.weight, layer.bias):
        if value is not None:
            set_constant(network.graph.initializers[str(value.name)], value.const_value.numpy())
    kept = {each: model.encodings[each] for each in held if each in model.encodings}
    return model.replace(network=network, encodings=kept, precisions={name: model.precisions[name]})


def two_products(first):
    """Return a quantized chain of two 1×1 products by 1 whose first weight became `first`."""
    net = Net("products")
    x = net.conv(net.input("image", 1, 4, 4), 1, 1, 1)
    net.output(net.conv(x, 1, 1, 1), 1, 4, 4)
    model = net.build()
    for layer in layers(model.graph):
        set_constant(layer.weight, np.ones((1, 1, 1, 1), np.float32))
        set_constant(layer.bias, np.zeros(1, np.float32))
    after = quantized(model)
    layer = next(layers(after.graph))
    set_constant(layer.weight, np.full((1, 1, 1, 1), first, np.float32))
    held = after.encodings[str(layer.weight.name)]
    grid = replace(held, scale=np.float32([first / 100]), zero_point=np.int64([0]))
    return after.replace(encodings={**after.encodings, str(layer.weight.name): grid})


def test_a_weight_that_is_a_tenth_off_leaves_20_db():
    first, second = measured(two_products(0.9), "advanced").rows[1:]
    assert first.alone.weights_snr_db == pytest.approx(20.0, abs=1e-3)
    assert first.weight.snr_db == pytest.approx(20.0, abs=1e-3)
    assert first.alone.output_snr_db == pytest.approx(first.alone.own_snr_db, abs=1e-3)
    assert first.alone.own_snr_db == pytest.approx(20.0, abs=0.1)  # and a little rounding
    assert first.alone.share > 0.9 > second.alone.share


def test_that_error_is_a_shift_where_the_signal_is_constant():
    data = ArrayDataset({"image": np.ones((4, 1, 4, 4), np.float32)})
    row = analyze(two_products(0.5), data, CpuTarget(), threads=1).rows[1]
    assert row.shift_share == pytest.approx(1.0)
    assert row.channels.still == 1


def test_rounding_noise_is_a_twelfth_of_the_squared_step():
    values = np.linspace(0.0, 255.0, 1_000_001)
    unit = Encoding(8, False, np.float32(1.0), np.int64(0))
    wanted = 10 * np.log10(np.square(values).mean() * 12)
    assert grid_snr(values, unit) == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("toy", ["conv_chain", "depthwise", "residual", "gemm", "two_outputs"])
def test_a_layer_alone_is_a_model_with_that_layer_quantized(toy):
    model = quantized(toys.TOYS[toy](), precision="a8_w4")
    alone = {row.layer: row.alone for row in measured(model, "advanced").rows}
    for name in model.precisions:
        found = measured(only(model, name))
        ratios = [10 ** (-snr / 10) for snr in found.outputs.values()]
        assert alone[name].output_snr_db == pytest.approx(-10 * np.log10(np.mean(ratios)), abs=0.05)
        assert alone[name].own_snr_db == pytest.approx(
            next(row.snr_db for row in found.rows if row.layer == name), abs=0.05
        )


@pytest.mark.parametrize("toy", sorted(toys.TOYS))
def test_outputs_have_the_snr_of_the_emulator(toy):
    model = quantized(toys.TOYS[toy]())
    data = toys.calibration(model, 10, seed=3)
    truth = float_outputs(model.at(Stage.OPTIMIZED), data.inputs)
    seen = CpuTarget().emulator(model, threads=1).run(data.inputs)
    found = measured(model)
    assert set(found.outputs) == set(truth)
    for name, snr in found.outputs.items():
        assert snr == pytest.approx(snr_db(truth[name], seen[name]), abs=0.01)


@pytest.mark.parametrize("toy", sorted(toys.TOYS))
@pytest.mark.parametrize("mode", ["simple", "advanced"])
def test_every_place_has_a_row_that_json_can_hold(toy, mode):
    model = quantized(toys.TOYS[toy]())
    found = measured(model, mode, count=3)
    assert [row.tensor for row in found.rows] == [place.tensor for place in places(model)]
    assert set(model.precisions) <= {row.layer for row in found.rows}
    held = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [each["layer"] for each in held["layers"]] == [row.layer for row in found.rows]
    if mode == "advanced":
        assert sum(row.alone.share for row in found.rows) == pytest.approx(1.0)


@pytest.mark.parametrize("mode", ["simple", "advanced"])
def test_layers_by_glob(mode):
    model = quantized(toys.conv_chain())
    name = list(model.precisions)[1]
    whole = {row.layer: row for row in measured(model, mode).rows}
    (row,) = measured(model, mode, layers=[name]).rows
    if mode == "simple":
        assert row == whole[name]
    else:
        assert row.alone.output_snr_db == pytest.approx(whole[name].alone.output_snr_db, abs=1e-3)
    with pytest.raises(RecipeError, match="no layer matches 'nothing'"):
        measured(model, mode, layers=["nothing"])


def test_layers_by_the_devices_own_names():
    class Naming(CpuTarget):
        def layer_names(self, model):
            return {name: f"conv{place}" for place, name in enumerate(model.precisions, 1)}

    model = quantized(toys.conv_chain())
    data = toys.calibration(model, 3)
    found = analyze(model, data, Naming(), layers=["conv[13]"], threads=1)
    assert [found.names[row.layer] for row in found.rows] == ["conv1", "conv3"]


def test_ranges_of_what_is_seen():
    model = quantized(toys.gemm(), activation_range="minmax")
    data = toys.calibration(model, 10, seed=3)
    for row in measured(model).rows:
        if row.range is None:
            continue
        encoding = model.encodings[row.tensor]
        assert (row.range.low, row.range.high) == (encoding.low, encoding.high)
        assert row.range.bits == 8
        assert 0.0 < row.range.bits_used <= 8.0
        assert row.range.step == float(encoding.scale)
    image = measured(model).rows[0]
    array = next(iter(data.inputs.values()))
    assert (image.range.seen_low, image.range.seen_high) == (array.min(), array.max())


def test_batches_make_no_difference():
    model = quantized(toys.residual())
    few, many = measured(model, batch_size=3), measured(model, batch_size=10)
    for a, b in zip(few.rows, many.rows, strict=True):
        assert a.snr_db == pytest.approx(b.snr_db, abs=0.01)
        assert a.channels.still == b.channels.still
        if a.shift_share is not None:
            assert a.shift_share == pytest.approx(b.shift_share, abs=1e-3)


@pytest.mark.parametrize(("mode", "label"), [("simple", "noise"), ("advanced", "alone")])
def test_progress_ends_at_the_total(mode, label):
    told = []
    model = quantized(toys.conv_chain())
    measured(model, mode, progress=lambda *event: told.append(event))
    assert told[0][:2] == (label, 0)
    assert told[-1][1] == told[-1][2]
    assert {event[0] for event in told} == {label}


def test_what_the_target_says_is_among_the_findings():
    class Strict(CpuTarget):
        def check(self, model):
            return [Finding("conv", "a shift of 16 is too large", "-p equalization")]

    model = quantized(toys.conv_chain())
    found = analyze(model, toys.calibration(model, 3), Strict())
    last = found.diagnoses[-1]
    assert (last.rule, last.layer) == ("target", "conv")
    assert (last.what, last.remedy) == ("a shift of 16 is too large", "-p equalization")


def test_an_emulator_that_hides_tensors_is_named():
    class Hiding(CpuTarget):
        def emulator(self, model, threads=None):
            return super().emulator(quantized(toys.conv_chain()), threads)

    model = quantized(toys.conv_chain())
    with pytest.raises(TargetError, match="does not return tensor"):
        analyze(model, toys.calibration(model, 3), Hiding())


def test_what_cannot_be_measured_is_refused():
    model = toys.conv_chain()
    with pytest.raises(ModelError, match="quantized model only"):
        measured(model)
    after = quantized(model)
    with pytest.raises(UsageError, match="no mode 'simpel'"):
        measured(after, "simpel")
    empty = ArrayDataset({"image": np.zeros((0, 3, 12, 12), np.float32)})
    with pytest.raises(DataError, match="no samples"):
        analyze(after, empty, CpuTarget())
