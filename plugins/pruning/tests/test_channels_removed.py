"""Dead and static channels: what goes, that the outputs stay, and what is left alone."""

import numpy as np
import pytest
from fewbits import archive, masks
from fewbits.builtin.cpu import CpuTarget
from fewbits.graph import constant, layers, set_constant
from fewbits.testing import toys
from fewbits.testing.inspection import assert_valid, context, float_outputs, relative_difference
from fewbits_pruning.algorithm import Pruning
from fewbits_pruning.dead import DeadChannels, DeadChannelsOptions
from fewbits_pruning.options import PruningOptions
from fewbits_pruning.static import StaticChannels


def apply(algorithm, model):
    return algorithm.apply(model, context(CpuTarget(), toys.calibration(model)))


def edited(model, **changes):
    """Return a copy with weights or biases changed: `layer__weight=function`."""
    new = model.copy()
    for layer in list(layers(new.graph)):
        for part in ("weight", "bias"):
            change = changes.get(f"{layer.name}__{part}")
            if change is not None:
                value = getattr(layer, part)
                array = constant(value).copy()
                change(array)
                set_constant(value, array)
    return new


def put(index, number):
    def change(array):
        array[index] = number

    return change


def shapes(model):
    return {layer.name: constant(layer.weight).shape for layer in layers(model.graph)}


def assert_same_outputs(before, after, data=None):
    data = data or toys.calibration(before, 8, seed=3).inputs
    a, b = float_outputs(before, data), float_outputs(after, data)
    assert max(relative_difference(a[name], b[name]) for name in a) <= 1e-5


def test_a_channel_that_is_always_zero_goes():
    model = edited(
        toys.conv_chain(), conv_0__weight=put([1, 4], 0.0), conv_0__bias=put([1, 4], -0.5)
    )
    result = apply(DeadChannels(), model)
    assert list(shapes(result.model).values()) == [(6, 3, 3, 3), (8, 6, 3, 3), (4, 8, 3, 3)]
    assert_valid(result.model)
    assert_same_outputs(model, result.model)


def test_a_constant_that_is_not_zero_stays():
    model = edited(toys.conv_chain(), conv_0__weight=put(1, 0.0), conv_0__bias=put(1, 0.5))
    result = apply(DeadChannels(), model)
    assert result.report.changed is False
    assert archive.content(result.model) == archive.content(model)


def test_a_channel_that_nobody_reads_goes():
    model = edited(toys.conv_chain(), conv_2__weight=put((slice(None), 3), 0.0))
    result = apply(DeadChannels(), model)
    assert list(shapes(result.model).values())[:2] == [(7, 3, 3, 3), (8, 7, 3, 3)]
    assert_same_outputs(model, result.model)


def test_depthwise_layers_lose_both_sides():
    expand, middle, project = (layer.name for layer in layers(toys.depthwise().graph))
    model = edited(toys.depthwise(), **{f"{project}__weight": put((slice(None), [0, 5]), 0.0)})
    result = apply(DeadChannels(), model)
    assert shapes(result.model) == {
        expand: (10, 3, 1, 1),
        middle: (10, 1, 3, 3),
        project: (6, 10, 1, 1),
    }
    assert_valid(result.model)
    assert_same_outputs(model, result.model)


def test_channels_tied_by_an_add_go_only_together():
    toy = toys.residual()
    stem, _, branch, _ = (layer.name for layer in layers(toy.graph))
    silent = {f"{stem}__weight": put(2, 0.0), f"{stem}__bias": put(2, -1.0)}
    alone = edited(toy, **silent)
    assert apply(DeadChannels(), alone).report.changed is False
    both = edited(
        toy, **silent, **{f"{branch}__weight": put(2, 0.0), f"{branch}__bias": put(2, 0.0)}
    )
    result = apply(DeadChannels(), both)
    assert [s[0] for s in shapes(result.model).values()] == [7, 8, 7, 4]
    assert_same_outputs(both, result.model)


def test_through_concat_and_flatten():
    concat = toys.concat()
    head = [layer.name for layer in layers(concat.graph)][-1]
    model = edited(concat, **{f"{head}__weight": put((slice(None), [1, 6]), 0.0)})
    result = apply(DeadChannels(), model)
    assert [s[0] for s in shapes(result.model).values()] == [6, 3, 5, 4]
    assert_same_outputs(model, result.model)
    toy = toys.softmax()
    first = next(layers(toy.graph)).name
    model = edited(toy, **{f"{first}__weight": put(0, 0.0), f"{first}__bias": put(0, -1.0)})
    result = apply(DeadChannels(), model)
    assert list(shapes(result.model).values()) == [(7, 3, 3, 3), (5, 63)]
    assert_valid(result.model)
    assert_same_outputs(model, result.model)


def test_what_cannot_be_cut_is_said():
    toy = toys.channel_shuffle()
    first = next(layers(toy.graph)).name
    model = edited(toy, **{f"{first}__weight": put(0, 0.0), f"{first}__bias": put(0, -1.0)})
    result = apply(DeadChannels(), model)
    assert result.report.changed is False
    reasons = {note.layer: note.reason for note in result.report.layers}
    assert reasons[first] != "every channel matters"


def test_masks_are_cut_with_their_weights():
    toy = toys.conv_chain()
    pruned = apply(Pruning(PruningOptions(small=True, ratio=0.4)), toy).model
    model = edited(pruned, conv_0__weight=put(1, 0.0), conv_0__bias=put(1, -9.0))
    result = apply(DeadChannels(), model)
    assert result.report.changed
    assert masks.violations(result.model) == []
    for layer in layers(result.model.graph):
        shape = constant(layer.weight).shape
        assert result.model.masks[str(layer.weight.name)].shape == shape


def test_asleep_on_the_data_goes_only_if_asked():
    model = edited(toys.conv_chain(), conv_0__bias=put(2, -1e4))
    assert apply(DeadChannels(), model).report.changed is False
    result = apply(DeadChannels(DeadChannelsOptions(calibrated=True)), model)
    assert next(iter(shapes(result.model).values()))[0] == 7
    assert_same_outputs(model, result.model)


def test_a_constant_moves_into_the_next_bias_where_no_padding_lies():
    toy = toys.depthwise()
    expand, middle, project = (layer.name for layer in layers(toy.graph))
    constant_here = {f"{middle}__weight": put(4, 0.0), f"{middle}__bias": put(4, 0.7)}
    model = edited(toy, **constant_here)
    result = apply(StaticChannels(), model)
    assert_same_outputs(model, result.model)
    assert {n.layer: n.action for n in result.report.layers}[middle] == "zeroed"
    after = {layer.name: layer for layer in layers(result.model.graph)}
    assert not constant(after[middle].bias)[4]
    before = {layer.name: layer for layer in layers(model.graph)}
    added = constant(after[project].bias) - constant(before[project].bias)
    wanted = 0.7 * constant(before[project].weight)[:, 4].reshape(-1)
    np.testing.assert_allclose(added, wanted, rtol=1e-5)
    smaller = apply(DeadChannels(), result.model).model
    assert shapes(smaller)[expand] == (11, 3, 1, 1)
    assert_same_outputs(model, smaller)


def test_a_constant_beside_padding_is_left_alone_with_the_reason():
    toy = toys.conv_chain()
    model = edited(toy, conv_0__weight=put(3, 0.0), conv_0__bias=put(3, 0.7))
    result = apply(StaticChannels(), model)
    assert result.report.changed is False
    assert "pads" in {n.layer: n.reason for n in result.report.layers}["conv_0"]


def test_zero_on_the_data_is_silenced_even_beside_padding():
    model = edited(toys.conv_chain(), conv_0__bias=put(2, -1e4))
    result = apply(StaticChannels(), model)
    first = next(layers(result.model.graph))
    assert not constant(first.weight)[2].any()
    assert_same_outputs(model, result.model)


@pytest.mark.parametrize("algorithm", [DeadChannels, StaticChannels])
def test_doing_it_again_changes_nothing(algorithm):
    model = edited(toys.conv_chain(), conv_0__bias=put(2, -1e4))
    once = apply(algorithm(), model).model
    assert apply(algorithm(), once).report.changed is False
