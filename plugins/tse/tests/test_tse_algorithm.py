"""Which blocks are tiled, which are kept and why, and what the report says of it."""

import numpy as np
import pytest
import se_forms as forms
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformQuantizer
from fewbits.data import ArrayDataset
from fewbits.errors import RecipeError
from fewbits.executor import Executor
from fewbits.graph import set_constant
from fewbits.placement import place
from fewbits.plugins import discover
from fewbits.recipe import Recipe, parse_step
from fewbits.runner import check
from fewbits.testing import toys
from fewbits.testing.inspection import context, float_outputs, snr_db
from fewbits.testing.net import Net
from fewbits_tse.algorithm import TiledSqueezeExcite, TseOptions


def tse(model, **options):
    data = toys.calibration(model)
    return TiledSqueezeExcite(TseOptions(**options)).apply(model, context(CpuTarget(), data))


def three_blocks():
    """Blocks over maps of 12, 12 and 6 rows."""
    net = Net("three_blocks")
    x = net.op("Relu", net.conv(net.input("image", 3, 12, 12), 3, 8))
    for number, stride in enumerate((1, 2, 1)):
        gate = net.op("GlobalAveragePool", x, name=f"pool{number}")
        gate = net.op("Relu", net.conv(gate, 8, 4, 1))
        x = net.op("Mul", x, net.op("Sigmoid", net.conv(gate, 4, 8, 1)))
        x = net.conv(x, 8, 8, strides=[stride, stride])
    net.output(x, 8, 6, 6)
    return net.build()


def actions(result):
    return {note.layer: note.action for note in result.report.layers}


def test_a_map_within_one_tile_is_kept_and_equal():
    model = forms.block()
    result = tse(model, tile_height=forms.HEIGHT)
    (note,) = result.report.layers
    assert (result.report.changed, note.action) == (False, "kept")
    assert "11 rows" in note.reason
    x = toys.calibration(model, 4, seed=1).inputs
    for name, before in float_outputs(model, x).items():
        np.testing.assert_allclose(float_outputs(result.model, x)[name], before, rtol=1e-6)


def test_the_first_blocks_are_counted_from_the_input():
    result = tse(three_blocks(), count=1, tile_height=3, threshold=-140)
    assert actions(result) == {"pool0": "tiled", "pool1": "kept", "pool2": "kept"}
    assert "first 1" in result.report.layers[1].reason
    assert tse(three_blocks(), count=0, tile_height=3).report.changed is False


def test_the_saving_is_one_less_the_tiles_share_of_the_rows():
    result = tse(three_blocks(), tile_height=3, threshold=-140)
    first, _, last = result.report.layers
    assert (first.values["buffer_bytes"], first.values["saving"]) == (8 * 12 * 12, 0.75)
    assert (last.values["saved_bytes"], last.values["saving"]) == (8 * 3 * 6, 0.5)
    total = 8 * (2 * 12 * 12 + 6 * 6)
    saved = 8 * (2 * 9 * 12 + 3 * 6)
    metrics = result.report.metrics
    assert (metrics["buffer_bytes"], metrics["saved_bytes"]) == (total, saved)
    assert metrics["saving"] == pytest.approx(saved / total, abs=1e-4)
    assert f"{saved:,}" in result.report.summary


def test_the_snr_is_that_of_the_blocks_output():
    model = forms.block()
    result = tse(model, tile_height=4, threshold=-140)
    x = toys.calibration(model).inputs
    (before,), (after,) = (float_outputs(m, x).values() for m in (model, result.model))
    assert result.report.layers[0].values["snr_db"] == pytest.approx(
        snr_db(before, after), abs=0.01
    )


def test_a_block_that_tiling_would_change_too_much_is_kept():
    measured = tse(three_blocks(), tile_height=3, threshold=-140)
    values = {note.layer: note.values["snr_db"] for note in measured.report.layers}
    worst, *others = sorted(values, key=values.__getitem__)
    between = (values[worst] + values[others[0]]) / 2
    result = tse(three_blocks(), tile_height=3, threshold=between)
    assert actions(result) == {worst: "kept"} | dict.fromkeys(others, "tiled")
    (kept,) = (note for note in result.report.layers if note.action == "kept")
    assert f"{values[worst]:.1f} dB" in kept.reason
    assert kept.values["saved_bytes"] == 0


def broken(change):
    """A block with something odd in it."""
    net = Net("odd")
    x = net.input("x", 4, 10, 6)
    change(net, x, net.op("GlobalAveragePool", x, name="pool"))
    return net.build()


def _across_channels(net, x, pooled):
    """Efficient channel attention: a convolution over neighbouring channels."""
    row = net.op("Reshape", pooled, net.constant(np.array([-1, 1, 4])))
    row = net.conv(row, 1, 1, (3,))
    gate = net.op("Sigmoid", net.op("Reshape", row, net.constant(np.array([-1, 4, 1, 1]))))
    net.output(net.op("Mul", x, gate), 4, 10, 6)


def _pool_read_elsewhere(net, x, pooled):
    gate = net.op("Sigmoid", net.conv(pooled, 4, 4, 1))
    net.output(net.op("Mul", x, gate), 4, 10, 6)
    net.output(net.conv(pooled, 4, 2, 1), 2, 1, 1)


def _without_layers(net, x, pooled):
    net.output(net.op("Mul", x, net.op("Sigmoid", pooled)), 4, 10, 6)


def _over_channels(net, x, pooled):
    gate = net.op("Softmax", net.conv(pooled, 4, 4, 1), axis=1)
    net.output(net.op("Mul", x, gate), 4, 10, 6)


def _with_another_input(net, x, pooled):
    other = net.op("GlobalMaxPool", x)
    gate = net.op("Sigmoid", net.conv(net.op("Add", pooled, other), 4, 4, 1))
    net.output(net.op("Mul", x, gate), 4, 10, 6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_across_channels, "1×1"),
        (_pool_read_elsewhere, "outside"),
        (_without_layers, "no layer"),
        (_over_channels, "Softmax"),
        (_with_another_input, "belong"),
    ],
)
def test_what_only_looks_like_a_block_is_kept_with_the_reason(change, said):
    result = tse(broken(change), tile_height=3, threshold=-140)
    (note,) = result.report.layers
    assert (note.layer, note.action, result.report.changed) == ("pool", "kept", False)
    assert said in note.reason


def test_a_head_is_no_block():
    result = tse(toys.two_outputs())
    assert result.report.layers == ()
    assert "no squeeze-and-excite" in result.report.summary


def test_pruned_weights_stay_zero_when_a_gemm_becomes_a_convolution():
    model = forms.block(layers="gemms").copy()
    masks = {}
    for node in model.graph:
        if node.op_type == "Gemm":
            weight = node.inputs[1]
            mask = np.random.default_rng(1).random(weight.shape.numpy()) < 0.5
            set_constant(weight, np.where(mask, weight.const_value.numpy(), np.float32(0)))
            masks[weight.name] = mask
    result = tse(model.replace(masks=masks), tile_height=4, threshold=-140).model
    held = {n.inputs[1].name: n.inputs[1] for n in result.graph if n.op_type == "Conv"}
    assert held.keys() == result.masks.keys()
    for name, mask in result.masks.items():
        assert np.array_equal(held[name].const_value.numpy() != 0, mask)


@pytest.mark.parametrize("layers", forms.LAYERS)
def test_a_tiled_block_runs_in_integers_throughout(layers):
    model = forms.block(layers=layers, gate="hard_sigmoid_in_parts")
    tiled = tse(model, tile_height=4, threshold=-140).model
    assert place(tiled.graph, CpuTarget.spec).float_nodes == []
    data = toys.calibration(model)
    quantized = UniformQuantizer().apply(tiled, context(CpuTarget(), data)).model
    (before,) = float_outputs(tiled, data.inputs).values()
    (after,) = CpuTarget().emulator(quantized, threads=1).run(data.inputs).values()
    assert snr_db(before, after) > 35
    (stated,) = Executor(quantized).run(data.inputs).values()
    step = float(quantized.encodings[quantized.output_names[0]].scale)
    assert np.abs(stated - after).max() <= 2.01 * step


def test_tiling_after_quantization_is_an_error_before_anything_runs():
    recipe = Recipe((parse_step("quantize"), parse_step("tse")))
    with pytest.raises(RecipeError, match="'tse' works in full precision") as caught:
        check(toys.se_block(), recipe, discover())
    assert "before the quantizer" in caught.value.hint


def test_data_of_any_kind_is_measured_once():
    model = three_blocks()
    seen = []

    class Counting(ArrayDataset):
        def batches(self, size):
            seen.append(size)
            return super().batches(size)

    data = Counting(toys.calibration(model).inputs)
    TiledSqueezeExcite(TseOptions(tile_height=3)).apply(model, context(CpuTarget(), data))
    assert len(seen) == 1
