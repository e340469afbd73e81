"""The quantizer on toy networks: goals, floors, 16 bits, labels, reports and pictures."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.data import ArrayDataset
from fewbits.errors import DataError, RecipeError, TargetError
from fewbits.graph import layers
from fewbits.model import Precision
from fewbits.options import build
from fewbits.testing import toys
from fewbits.testing.inspection import contents, context, float_outputs
from fewbits_mixed_precision.algorithm import MixedPrecision
from fewbits_mixed_precision.measures import decibels, noise_ratios
from fewbits_mixed_precision.options import MixedPrecisionOptions
from fewbits_mixed_precision.sizes import model_bytes

TARGET = CpuTarget()


def run(model, data=None, target=TARGET, **options):
    data = data or toys.calibration(model, 32)
    result = MixedPrecision(MixedPrecisionOptions(**options)).apply(model, context(target, data))
    return result.model, result.report


def shares(model):
    sizes = {layer.name: int(np.prod(layer.weight.shape)) for layer in layers(model.graph)}
    total = sum(sizes[name] for name in model.precisions)
    low = sum(sizes[n] for n, mode in model.precisions.items() if mode.weight_bits == 4)
    wide = sum(sizes[n] for n, mode in model.precisions.items() if mode.activation_bits == 16)
    return low / total, wide / total


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.6, 1.0])
def test_at_least_the_ratio_of_the_weights_gets_4_bits(ratio):
    model, report = run(toys.conv_chain(), ratio_4bit=ratio)
    assert shares(model)[0] >= ratio - 1e-9
    assert report.metrics["ratio_4bit"] == pytest.approx(shares(model)[0], abs=1e-4)


@pytest.mark.parametrize(("ratio", "mode"), [(0.0, "a8_w8"), (1.0, "a8_w4")])
def test_both_ends_are_what_uniform_gives(ratio, mode):
    given = toys.residual()
    model, _ = run(given, ratio_4bit=ratio)
    plain = UniformQuantizer(UniformOptions(precision=mode))
    same = plain.apply(given, context(TARGET, toys.calibration(given, 32))).model
    assert contents(model) == contents(same)


def test_without_a_goal_a_fifth_of_the_weights_gets_4_bits():
    model, _ = run(toys.concat())
    assert 0.2 <= shares(model)[0] < 1.0


def test_a_size_is_kept_and_used():
    everything, _ = run(toys.concat(), ratio_4bit=0.0)
    nothing, _ = run(toys.concat(), ratio_4bit=1.0)
    budget = (model_bytes(everything) + model_bytes(nothing)) // 2
    model, report = run(toys.concat(), size=budget)
    assert model_bytes(nothing) < model_bytes(model) <= budget
    assert report.metrics["bytes"] == pytest.approx(model_bytes(model), abs=1)


def test_an_average_of_bits_is_kept():
    model, report = run(toys.concat(), bits=5.5)
    assert report.metrics["bits"] <= 5.5
    assert report.metrics["bits"] == pytest.approx(8.0 - 4.0 * shares(model)[0], abs=1e-3)


@pytest.mark.parametrize("options", [{"size": 10}, {"bits": 4.0, "layers": {"*_0": "a8_w8"}}])
def test_what_cannot_be_reached_is_an_error_that_says_what_can(options):
    with pytest.raises(RecipeError, match="cannot be reached") as caught:
        run(toys.conv_chain(), **options)
    assert "MB" in caught.value.message
    assert caught.value.hint


def test_layers_given_by_name_keep_their_mode():
    name = next(layers(toys.conv_chain().graph)).name
    model, report = run(toys.conv_chain(), ratio_4bit=0.5, layers={name: "a8_w8"})
    assert str(model.precisions[name]) == "a8_w8"
    assert shares(model)[0] >= 0.5
    values = {note.layer: note.values for note in report.layers}
    assert "alone_snr_db" not in values[name]


def test_the_noise_of_one_layer_alone_is_what_a_network_of_its_own_shows():
    """Closed form: the last layer is linear, so its noise is that of its rounded weight."""
    given = toys.gemm()
    data = toys.calibration(given, 16)
    _, report = run(given, data, ratio_4bit=1.0)
    low, _ = run(given, data, ratio_4bit=1.0)
    last = list(layers(given.graph))[-1]
    mixed = given.copy()
    mixed.graph.initializers[last.weight.name].const_value = low.graph.initializers[
        last.weight.name
    ].const_value
    mixed.graph.initializers[last.bias.name].const_value = low.graph.initializers[
        last.bias.name
    ].const_value
    before, after = float_outputs(given, data.inputs), float_outputs(mixed, data.inputs)
    note = next(note for note in report.layers if note.layer == last.name)
    expected = decibels(noise_ratios(before, after, 16))
    assert note.values["alone_snr_db"] == pytest.approx(expected, abs=0.01)


def test_prediction_by_sums_is_near_what_the_emulator_shows():
    for toy in ("conv_chain", "residual", "se_block", "two_outputs"):
        _, report = run(toys.TOYS[toy](), ratio_4bit=0.6)
        assert report.metrics["snr_db"] == pytest.approx(
            report.metrics["predicted_snr_db"], abs=2.0
        )


def test_a_floor_alone_gives_the_smallest_model_that_keeps_it():
    _, report = run(toys.conv_chain(), ratio_4bit=1.0)
    floor = report.metrics["snr_db"] + 2.0
    model, report = run(toys.conv_chain(), min_snr=floor)
    assert report.metrics["snr_db"] >= floor
    assert 0.0 < shares(model)[0] < 1.0


def test_a_floor_beside_a_goal_is_an_error_where_both_cannot_be_met():
    with pytest.raises(RecipeError, match="below min_snr") as caught:
        run(toys.conv_chain(), ratio_4bit=1.0, min_snr=25.0)
    assert "ratio_4bit=" in caught.value.hint
    with pytest.raises(RecipeError, match="no layer at 4 bits"):
        run(toys.conv_chain(), min_snr=100.0)


def test_16_bits_go_where_they_save_most_and_within_the_share():
    _plain, before = run(toys.conv_chain(), ratio_4bit=0.0)
    model, report = run(toys.conv_chain(), ratio_4bit=0.0, ratio_16bit=0.5)
    assert 0.0 < shares(model)[1] <= 0.5
    assert report.metrics["snr_db"] > before.metrics["snr_db"]
    assert any("gain_16bit" in note.values for note in report.layers)
    both, _ = run(toys.conv_chain(), ratio_4bit=0.3, ratio_16bit=0.5)
    modes = set(map(str, both.precisions.values()))
    assert {"a8_w4", "a16_w16"} <= modes


def test_a_target_says_how_16_bits_spread():
    class Binding(CpuTarget):
        def spread(self, model, modes):
            wide = any(mode.activation_bits == 16 for mode in modes.values())
            return dict.fromkeys(modes, Precision(16, 8)) if wide else modes

    alone, _ = run(toys.conv_chain(), ratio_4bit=0.0, ratio_16bit=0.5, target=Binding())
    assert shares(alone)[1] == 0.0, "all would be widened, which exceeds the share"
    model, _ = run(toys.conv_chain(), ratio_4bit=0.0, ratio_16bit=1.0, target=Binding())
    assert set(map(str, model.precisions.values())) == {"a16_w8"}


def test_a_target_without_4_or_16_bits_is_refused():
    class Narrow(CpuTarget):
        spec = replace(CpuTarget.spec, precisions=frozenset({Precision(8, 8)}))

    class Without16(CpuTarget):
        spec = replace(CpuTarget.spec, precisions=frozenset({Precision(8, 8), Precision(8, 4)}))

    with pytest.raises(TargetError, match="a8_w4"):
        run(toys.conv_chain(), target=Narrow())
    with pytest.raises(TargetError, match="16-bit"):
        run(toys.conv_chain(), ratio_16bit=0.2, target=Without16())


def labelled(model, count=64):
    data = toys.calibration(model, count)
    (scores,) = float_outputs(model, data.inputs).values()
    return ArrayDataset(data.inputs, scores.reshape(count, -1).argmax(axis=1))


def test_with_labels_the_rise_of_the_loss_decides():
    given = toys.softmax()
    model, report = run(given, labelled(given), ratio_4bit=0.2, metric="task")
    assert shares(model)[0] >= 0.2
    losses = [n.values["alone_loss"] for n in report.layers if "alone_loss" in n.values]
    assert len(losses) == 2
    chosen = [n for n in report.layers if n.values.get("precision") == "a8_w4"]
    assert chosen


def test_a_drop_of_top1_is_kept():
    given = toys.gemm()
    _, free = run(given, labelled(given), ratio_4bit=1.0, max_drop=100.0)
    _, report = run(given, labelled(given), max_drop=1.0)
    assert report.metrics["top1_drop"] <= 1.0
    assert free.metrics["ratio_4bit"] == 1.0


@pytest.mark.parametrize("options", [{"metric": "task"}, {"max_drop": 1.0}])
def test_labels_that_are_needed_and_missing_are_an_error(options):
    with pytest.raises(DataError, match="labels"):
        run(toys.gemm(), **options)


def test_labels_that_are_no_classes_are_an_error_with_a_remedy():
    data = labelled(toys.gemm())
    data.labels = data.labels + 5
    with pytest.raises(DataError, match="is not one of") as caught:
        run(toys.gemm(), data, metric="task")
    assert "label_offset" in caught.value.hint
    run(toys.gemm(), data, metric="task", label_offset=-5)


def test_the_front_is_in_the_report_and_in_the_picture(tmp_path):
    path = tmp_path / "front.svg"
    _, report = run(toys.residual(), ratio_4bit=0.5, plot=str(path))
    front = report.metrics["pareto"]
    bits = [row["bits"] for row in front]
    assert bits == sorted(bits, reverse=True)
    snr = [row["predicted_snr_db"] for row in front]
    assert snr == sorted(snr, reverse=True)
    tree = ElementTree.parse(path)
    circles = tree.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == len(front) + 1


def test_a_picture_in_a_folder_that_is_missing_is_refused_before_the_search(tmp_path):
    with pytest.raises(RecipeError, match="does not exist"):
        run(toys.residual(), plot=str(tmp_path / "missing" / "front.svg"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ratio_4bit": 0.5, "size": "1MB"}, "exclude each other"),
        ({"ratio_4bit": 0.7, "ratio_16bit": 0.4}, "more than 1"),
        ({"size": "two"}, "no size"),
        ({"precision": "a8_w4"}, "precision"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(RecipeError, match=words):
        build(MixedPrecisionOptions, options, owner="step 'mixed_precision'")
