"""Pruning of whole networks: what becomes of weights, masks, outputs and reports."""

import numpy as np
import pytest
from fewbits import archive
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.errors import DataError, RecipeError
from fewbits.graph import constant, layers
from fewbits.layermatrix import weight_matrix
from fewbits.options import build
from fewbits.testing import toys
from fewbits.testing.inspection import context, float_outputs, snr_db
from fewbits.testing.net import Net
from fewbits_pruning.algorithm import Pruning
from fewbits_pruning.options import PruningOptions
from fewbits_pruning.selection import Pattern


def prune(model, samples=64, **options):
    return Pruning(PruningOptions(**options)).apply(
        model, context(CpuTarget(), toys.calibration(model, samples))
    )


def output_snr(before, after, samples=64):
    data = toys.calibration(before, samples, seed=5).inputs
    a, b = float_outputs(before, data), float_outputs(after, data)
    return min(snr_db(a[name], b[name]) for name in a)


def correlated():
    """A network whose inputs to prune are strongly correlated, as real ones are."""
    net = Net("correlated")
    x = net.op("Relu", net.conv(net.input("image", 3, 12, 12), 3, 24, 1))
    x = net.op("Relu", net.conv(x, 24, 16, 3))
    net.output(net.conv(x, 16, 8, 1), 8, 12, 12)
    return net.build()


@pytest.mark.parametrize("method", ["obs", "magnitude"])
@pytest.mark.parametrize("pattern", ["2:4", "1:4", "4:8"])
def test_every_run_of_input_channels_keeps_at_most_n(method, pattern):
    result = prune(correlated(), method=method, pattern=pattern)
    kept, run = Pattern.parse(pattern).kept, Pattern.parse(pattern).run
    pruned = {n.layer for n in result.report.layers if n.action == "pruned"}
    assert pruned == {"conv_2", "conv_4"}
    for layer in layers(result.model.graph):
        if layer.name in pruned:
            weight = np.moveaxis(constant(layer.weight), 1, -1)
            runs = (weight != 0).reshape(*weight.shape[:-1], -1, run)
            assert (runs.sum(axis=-1) <= kept).all()


@pytest.mark.parametrize("method", ["obs", "magnitude"])
def test_each_layer_loses_its_ratio(method):
    result = prune(correlated(), method=method, ratio=0.7)
    for layer in layers(result.model.graph):
        if layer.name != "conv_0":
            weight = constant(layer.weight)
            assert (weight == 0).sum() == round(0.7 * weight.size)
            mask = result.model.masks[layer.weight.name]
            np.testing.assert_array_equal(weight != 0, mask)


@pytest.mark.parametrize("method", ["obs", "magnitude"])
def test_a_global_ratio_holds_for_all_layers_together(method):
    result = prune(correlated(), method=method, ratio=0.6, scope="global", small=True)
    masks = result.model.masks.values()
    total = sum(constant(layer.weight).size for layer in layers(result.model.graph))
    assert sum((~m).sum() for m in masks) == round(0.6 * total)
    assert len({round(float((~m).mean()), 2) for m in masks}) > 1
    if method == "magnitude":
        values = [np.abs(constant(layer.weight)) for layer in layers(correlated().graph)]
        left = [constant(layer.weight) for layer in layers(result.model.graph)]
        limit = min(np.abs(w[w != 0]).min() for w in left)
        assert sum((v < limit).sum() for v in values) == sum((w == 0).sum() for w in left)


@pytest.mark.parametrize("options", [{"pattern": "2:4"}, {"ratio": 0.5}, {"ratio": 0.7}])
def test_obs_beats_magnitude(options):
    model = correlated()
    plain = prune(model, method="magnitude", bias_correction=False, **options).model
    assert output_snr(model, prune(model, **options).model) > output_snr(model, plain) + 3.0


def test_biases_make_up_for_the_mean():
    model = correlated()
    with_bias = prune(model, method="magnitude", ratio=0.7).model
    without = prune(model, method="magnitude", ratio=0.7, bias_correction=False).model
    assert output_snr(model, with_bias) > output_snr(model, without) + 1.0


def test_reported_snr_is_that_of_the_layer():
    """One layer pruned alone: the report's figure against both networks run on the same data."""
    model = toys.gemm()
    data = toys.calibration(model, 64)
    result = Pruning(PruningOptions(layers=["gemm_3"], ratio=0.6)).apply(
        model, context(CpuTarget(), data)
    )
    (note,) = [n for n in result.report.layers if n.action == "pruned"]
    before = float_outputs(model, data.inputs)
    after = float_outputs(result.model, data.inputs)
    (name,) = before
    assert note.values["snr_db"] == pytest.approx(snr_db(before[name], after[name]), abs=0.05)
    assert note.values["sparsity"] == pytest.approx(0.6, abs=0.01)


def test_pruning_again_changes_nothing_and_says_so():
    once = prune(correlated(), pattern="2:4").model
    again = prune(once, pattern="2:4")
    assert again.report.changed is False
    assert archive.content(again.model) == archive.content(once)


def test_earlier_masks_stay():
    once = prune(correlated(), ratio=0.3).model
    twice = prune(once, ratio=0.6).model
    for name, mask in once.masks.items():
        assert not (twice.masks[name] & ~mask).any()
        assert (~twice.masks[name]).sum() == round(0.6 * mask.size)


def test_nothing_to_prune_leaves_the_model_as_it_is():
    model = toys.shared_weights()
    result = prune(model, ratio=0.0)
    assert result.report.changed is False
    assert archive.content(result.model) == archive.content(model)


def test_what_is_left_alone_is_said():
    reasons = {n.layer: n.reason for n in prune(toys.depthwise(), pattern="2:4").report.layers}
    assert "3 input channels" in reasons["conv_0"]
    assert "1 input channels" in reasons["conv_2"]
    assert reasons["conv_4"] == ""
    plain = {n.layer: n.reason for n in prune(toys.depthwise()).report.layers}
    assert "network input" in plain["conv_0"]
    assert "depthwise" in plain["conv_2"]
    every = {n.layer: n.reason for n in prune(toys.depthwise(), small=True).report.layers}
    assert not any(every.values())


def test_globs_choose_layers():
    result = prune(toys.conv_chain(), layers=["conv_[02]"], exclude=["conv_2"])
    actions = {n.layer: n.action for n in result.report.layers}
    assert actions == {"conv_0": "pruned", "conv_2": "left alone", "conv_4": "left alone"}
    for option in ("layers", "exclude"):
        with pytest.raises(RecipeError) as caught:
            prune(toys.conv_chain(), **{option: ["conv_00"]})
        assert "conv_0" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pattern": "4:2"}, "N:M"),
        ({"pattern": "2:4", "ratio": 0.5}, "not both"),
        ({"pattern": "2:4", "scope": "global"}, "ratio"),
        ({"ratio": 1.0}, "ratio"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(RecipeError, match=words):
        build(PruningOptions, options, owner="step 'pruning'")


def test_magnitude_without_biases_needs_no_data():
    algorithm = Pruning(PruningOptions(method="magnitude", bias_correction=False))
    result = algorithm.apply(toys.conv_chain(), context(CpuTarget(), None))
    assert result.report.changed
    for options in ({}, {"method": "magnitude"}):
        with pytest.raises(DataError):
            Pruning(PruningOptions(**options)).apply(toys.conv_chain(), context(CpuTarget(), None))


@pytest.mark.parametrize("toy", ["conv_chain", "shared_weights", "conv_transpose", "matmul"])
@pytest.mark.parametrize("precision", ["a8_w8", "a8_w4"])
def test_quantization_and_archives_keep_the_masks(toy, precision, tmp_path):
    model = prune(toys.TOYS[toy](), ratio=0.6, small=True).model
    quantizer = UniformQuantizer(UniformOptions(precision=precision))
    quantized = quantizer.apply(model, context(CpuTarget(), toys.calibration(model))).model
    path = tmp_path / "pruned.fewbits"
    archive.write(quantized, path)
    held = archive.read(path)
    assert held.masks.keys() >= model.masks.keys()
    for layer in layers(held.graph):
        mask = held.masks[str(layer.weight.name)]
        assert not constant(layer.weight)[~mask].any()
        assert mask.mean() == pytest.approx(0.4, abs=0.03)
        assert weight_matrix(layer, mask).any()
