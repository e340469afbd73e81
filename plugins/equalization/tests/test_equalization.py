"""What equalization does to factors, clips, masks and accuracy."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.channels import find_channels
from fewbits.data import ArrayDataset
from fewbits.errors import RecipeError, TargetError
from fewbits.executor import Executor
from fewbits.graph import constant, layers, set_constant
from fewbits.interfaces import Context
from fewbits.recipe import Recipe, parse_step
from fewbits.runtime import Session
from fewbits.testing import toys
from fewbits.testing.inspection import relative_difference, snr_db
from fewbits_equalization import algorithm as of_the_plugin
from fewbits_equalization.algorithm import Equalization, EqualizationOptions
from fewbits_equalization.apply import rescale
from fewbits_equalization.expected import Part, expected_noise, least_noise
from fewbits_equalization.factors import balanced, importance, sharing_bounds, toward_widest
from fewbits_equalization.noise import Grids, Noise


def context(model):
    return Context(CpuTarget(), toys.calibration(model), threads=1)


def equalize(model, **options):
    """Equalize for weights with one scale, unless the options say otherwise."""
    chosen = EqualizationOptions(**{"weights": "per_tensor"} | options)
    return Equalization(chosen).apply(model, context(model))


def quantize(model):
    options = UniformOptions(weights="per_tensor", bias_correction=False)
    return UniformQuantizer(options).apply(model, context(model)).model


def made_hard(model, seed=0, sigma=1.5):
    """Return the model with every class of channels rescaled by `e^{sigma N(0, 1)}`, exactly."""
    new = model.copy()
    channels = find_channels(new.graph)
    factors = np.exp(sigma * np.random.default_rng(seed).normal(size=channels.count))
    factors[0] = 1.0
    rescale(new.graph, channels, factors)
    return model.replace(network=new.network)


def ranges(model):
    """Return per layer the largest weight of each output and of each input channel."""
    found = []
    for layer in layers(model.graph):
        weight = np.abs(constant(layer.weight))
        weight = weight.reshape(*weight.shape[:2], -1).max(axis=2)
        found.append((weight.max(axis=1), weight.max(axis=0)))
    return found


def test_one_step_lets_every_channel_grow_to_the_widest():
    assert toward_widest(np.array([0.5, 2.0, 0.0]), np.ones(3)).tolist() == [4.0, 1.0, np.inf]


def test_two_step_lets_channels_shrink_that_nobody_reads():
    m = importance(np.array([[1.0, 0.01], [0.5, 0.0]]))
    assert m.tolist() == [1.0, 0.01]
    assert toward_widest(np.array([1.0, 50.0]), m).tolist() == [1.0, 0.02]


def test_balanced_factors_make_both_ranges_equal():
    r1, r2 = np.array([[4.0, 0.1, 1.0]]), np.array([[1.0, 2.5, 1.0]])
    f = balanced(r1, r2)
    assert r1 * f == pytest.approx(r2 / f)


def test_a_channel_without_weights_takes_its_outlier_from_the_next_layer():
    f = balanced(np.array([[1.0, 0.0, 1.0]]), np.array([[1.0, 56.0, 1.0]]))
    assert 56.0 / f[1] == pytest.approx(1.0)


def test_shared_bounds_hold_for_every_channel():
    rng = np.random.default_rng(0)
    f, a = np.exp(rng.normal(size=50)), np.minimum(rng.uniform(0.1, 9.0, 50), 6.0)
    shared = sharing_bounds(f, a, np.full(50, 6.0))
    top = (shared * a).max()
    assert (shared * 6.0).min() >= top * (1 - 1e-9)
    assert np.ptp(shared[a == 6.0]) < 1e-9


def test_cle_makes_the_ranges_of_each_pair_of_layers_equal():
    model = equalize(made_hard(toys.pooling()), mode="cle").model
    for (written, _), (_, read) in pairwise(ranges(model)):
        assert written == pytest.approx(read, rel=0.02)


@pytest.mark.parametrize("toy", ["residual", "sliced_shortcut", "channel_shuffle", "pooling"])
@pytest.mark.parametrize("options", [{}, {"mode": "cle"}, {"mode": "one_step", "cap": 1e4}])
def test_a_net_made_hard_becomes_easy_again(toy, options):
    model = toys.TOYS[toy]()
    inputs = toys.calibration(model, 16, seed=1).inputs
    (reference,) = Session(model.network).run(inputs).values()

    def quality(given):
        (found,) = CpuTarget().emulator(quantize(given), threads=1).run(inputs).values()
        return snr_db(reference, found)

    hard = made_hard(model)
    easy = equalize(hard, **options).model
    assert quality(easy) > max(quality(hard) + 6.0, quality(model) - 6.0)


@pytest.mark.parametrize("mode", ["noise", "cle"])
@pytest.mark.parametrize("clip", ["shared", "exact"])
def test_clips_stay_exact_far_outside_the_calibration_data(clip, mode):
    model = made_hard(toys.depthwise(), sigma=0.5)
    after = equalize(model, clip=clip, mode=mode).model
    inputs = {k: 20.0 * v for k, v in toys.calibration(model, 8, seed=2).inputs.items()}
    before, found = Session(model.network).run(inputs), Session(after.network).run(inputs)
    for name, value in before.items():
        assert relative_difference(value, found[name]) < 1e-5


def test_least_noise_meets_the_closed_form_and_its_bounds():
    free = [Part(np.array([1.0, 4.0, 2.0]), np.ones(3), 1)]
    f = least_noise(free, np.ones(3), np.full(3, 0.01), np.full(3, 100.0))
    assert f / f[1] == pytest.approx([4.0, 1.0, 2.0], rel=0.1)
    held = least_noise(free, np.ones(3), np.ones(3), np.full(3, 1.5))
    assert held == pytest.approx([1.5, 1.0, 1.5], rel=0.1)


def test_least_noise_never_makes_activations_dominate_as_even_weights_do():
    weights = Part(np.array([1.0, 0.01]), np.array([1.0, 1.0]), 1)
    values = Part(np.array([1.0, 1.0]), np.array([1e3, 1e3]), 1)
    found = least_noise([weights, values], np.ones(2), np.full(2, 1e-4), np.full(2, 1e4))
    assert found[1] / found[0] < 2.0
    assert expected_noise([weights, values], found) <= expected_noise([weights, values], np.ones(2))


def test_rows_with_scales_of_their_own_meet_the_sum_of_single_parts():
    rng = np.random.default_rng(0)
    reach, noise = rng.uniform(0.1, 5.0, (7, 4)), rng.uniform(0.1, 5.0, 4)
    weights, factors = rng.uniform(0.1, 2.0, 7), np.exp(rng.normal(size=4))
    whole = Part(reach, noise, -1, weights)
    single = [Part(row, w * noise, -1) for row, w in zip(reach, weights, strict=True)]
    assert expected_noise([whole], factors) == pytest.approx(expected_noise(single, factors))
    low, high = np.full(4, 1e-3), np.full(4, 1e3)
    values = Part(rng.uniform(0.1, 5.0, 4), np.ones(4), 1)
    found, other = (least_noise([*p, values], np.ones(4), low, high) for p in ([whole], single))
    least = expected_noise([whole, values], found)
    assert least == pytest.approx(expected_noise([whole, values], other), rel=0.02)
    for near in np.exp(0.2 * rng.normal(size=(200, 4))):
        assert expected_noise([whole, values], found * near) > 0.98 * least


def grids(**options):
    algorithm = Equalization(EqualizationOptions(**options))
    return algorithm._grids(context(toys.conv_chain()))


def test_the_target_says_how_weights_are_scaled():
    assert grids() == grids(weights="per_channel") != grids(weights="per_tensor")
    assert grids(precision="a8_w4").coarseness > 300.0 * grids().coarseness


def test_weights_that_the_target_does_not_have_are_refused():
    model = toys.conv_chain()

    class Whole(CpuTarget):
        spec = replace(
            CpuTarget.spec, weights="per_tensor", granularities=frozenset({"per_tensor"})
        )

    given = replace(context(model), target=Whole())
    with pytest.raises(TargetError, match="no per_channel weights") as caught:
        Equalization(EqualizationOptions(weights="per_channel")).apply(model, given)
    assert "per_tensor" in caught.value.hint


def test_scales_per_output_channel_leave_weights_of_producers_out():
    channels = find_channels(toys.conv_chain().graph)
    group = next(group for group in channels.groups() if group.size)
    directions = {
        each: {
            part.direction
            for part in Noise.over(channels, {}, Grids(each)).of_weights(
                group, np.ones(channels.count)
            )
        }
        for each in (False, True)
    }
    assert directions == {False: {1, -1}, True: {-1}}


@pytest.mark.parametrize("toy", ["residual", "depthwise", "conv_chain"])
def test_weights_per_channel_at_8_bits_are_left_alone_and_reported(toy):
    result = equalize(made_hard(toys.TOYS[toy]()), weights="target")
    assert not result.report.changed
    assert "say weights=per_tensor" in result.report.summary
    reasons = {note.reason[:46] for note in result.report.layers}
    assert "weights are taken to have a scale for each out" in reasons


def test_no_values_are_watched_where_nothing_will_be_rescaled(monkeypatch):
    watched = []
    monkeypatch.setattr(of_the_plugin, "watched", lambda *given: watched.append(given) or {})
    equalize(made_hard(toys.residual()), weights="per_channel")
    assert not watched
    equalize(made_hard(toys.residual()), weights="per_channel", mode="cle")
    assert watched


@pytest.mark.parametrize(
    ("own", "asked", "found"),
    [
        ({}, {"weights": "per_tensor"}, {"weights": "per_tensor", "precision": "a8_w8"}),
        ({}, {"weights": "per_channel"}, {"weights": "per_channel", "precision": "a8_w8"}),
        ({}, {"precision": "a8_w4"}, {"precision": "a8_w4"}),
        ({"precision": "a8_w4"}, {}, {}),
        ({"weights": "per_channel"}, {"weights": "per_tensor"}, {"precision": "a8_w8"}),
    ],
)
def test_the_quantizer_behind_says_how_it_will_round_unless_the_step_is_told(own, asked, found):
    steps = [Equalization(), UniformQuantizer(UniformOptions(**asked))]
    assert Equalization(EqualizationOptions(**own)).options_before(steps) == found
    assert Equalization(EqualizationOptions(**own)).options_before([]) == {}


def test_coarse_weights_per_channel_take_factors_that_stake_little():
    result = equalize(made_hard(toys.residual()), weights="per_channel", precision="a8_w4")
    found = [note.values for note in result.report.layers if note.action == "equalized"]
    assert found
    assert all(0.499 <= each["smallest"] <= each["largest"] <= 2.001 for each in found)


def test_a_clip_whose_bound_is_never_met_becomes_a_relu():
    model = toys.depthwise()
    small = {k: 1e-3 * v for k, v in toys.calibration(model).inputs.items()}
    given = replace(context(model), calibration=ArrayDataset(small))
    for node in model.graph:
        assert node.op_type != "Relu"
    algorithm = Equalization(EqualizationOptions(clip="relu"))
    result = algorithm.apply(model, given)
    relus = [note for note in result.report.layers if note.action == "relu"]
    assert relus
    names = {node.name for node in result.model.graph if node.op_type == "Relu"}
    assert {note.layer for note in relus} <= names
    before, after = (Session(m.network).run(small) for m in (model, result.model))
    for name, value in before.items():
        assert relative_difference(value, after[name]) < 1e-5
    assert algorithm.float_tolerance is None


def test_a_clip_whose_bound_is_met_stays_exact_with_relu():
    model = toys.depthwise()
    large = {k: 50.0 * v for k, v in toys.calibration(model).inputs.items()}
    given = replace(context(model), calibration=ArrayDataset(large))
    result = Equalization(EqualizationOptions(clip="relu")).apply(model, given)
    wide = {k: 10.0 * v for k, v in large.items()}
    before, after = (Session(m.network).run(wide) for m in (model, result.model))
    for name, value in before.items():
        assert relative_difference(value, after[name]) < 1e-5


@pytest.mark.parametrize(
    ("options", "held"),
    [
        ({}, True),
        ({"clip": "exact"}, True),
        ({"clip": "relu"}, False),
        ({"absorb_bias": True}, False),
    ],
)
def test_only_what_holds_for_all_data_is_promised(options, held):
    assert (Equalization(EqualizationOptions(**options)).float_tolerance is not None) == held


def test_no_channel_falls_further_below_zero_than_the_widest_rises():
    hard = made_hard(toys.residual(), sigma=3.0)
    free = equalize(hard, mode="one_step", cap=1e4).report
    held = equalize(hard, mode="one_step", cap=1e4, pre_activation=True).report
    assert 0 < held.metrics["channels"] < free.metrics["channels"]


def test_the_bound_by_pre_activations_needs_a_mode_that_has_it():
    with pytest.raises(ValueError, match="mode=one_step"):
        EqualizationOptions(pre_activation=True)


def test_shared_bounds_cost_the_emulator_nothing():
    quantized = quantize(equalize(made_hard(toys.depthwise(), sigma=0.0)).model)
    assert "Min" in [node.op_type for node in quantized.graph]
    compiled = CpuTarget()._network(quantized)
    assert not {"Min", "Relu", "Clip"} & {node.op_type for node in compiled.graph}


@pytest.mark.parametrize("clip", ["shared", "exact"])
def test_emulator_and_executor_agree_on_bounds_by_channel(clip):
    quantized = quantize(equalize(made_hard(toys.depthwise(), sigma=0.5), clip=clip).model)
    inputs = toys.calibration(quantized, 4, seed=3).inputs
    (emulated,) = CpuTarget().emulator(quantized, threads=1).run(inputs).values()
    (executed,) = Executor(quantized).run(inputs).values()
    step = float(quantized.encodings[quantized.output_names[0]].scale)
    assert np.abs(emulated - executed).max() <= 1.01 * step


def test_clips_can_be_left_alone():
    result = equalize(toys.depthwise(), clip="off")
    assert not result.report.changed
    assert all("clip=off" in n.reason or "output" in n.reason for n in result.report.layers)


def test_absorbed_biases_keep_the_outputs_on_the_calibration_data():
    model = toys.gemm().copy()
    first = next(iter(layers(model.graph)))
    set_constant(first.bias, np.full(16, 30.0, np.float32))
    result = equalize(model, absorb_bias=True)
    assert "bias absorbed" in [note.action for note in result.report.layers]
    inputs = dict(toys.calibration(model).inputs)
    (before,), (after,) = (Session(m.network).run(inputs).values() for m in (model, result.model))
    assert relative_difference(before, after) < 1e-5


def test_no_more_samples_are_looked_at_than_asked_for():
    model, told = toys.depthwise(), []
    given = replace(context(model), progress=lambda *event: told.append(event))
    Equalization(EqualizationOptions(samples=5, weights="per_tensor")).apply(model, given)
    assert {total for label, _, total, _ in told if label == "calibrate"} == {5}


def test_one_step_respects_its_cap():
    hard = made_hard(toys.residual(), sigma=4.0)
    result = equalize(hard, mode="one_step", cap=3.0)
    largest = [n.values["largest"] for n in result.report.layers if n.action == "equalized"]
    assert max(largest) == 2.0  # the largest power of two below the cap


def test_equalization_after_quantization_is_refused_before_anything_runs():
    from fewbits import runner
    from fewbits.plugins import discover

    recipe = Recipe((parse_step("quantize"), parse_step("equalization")))
    with pytest.raises(RecipeError, match="full precision"):
        runner.check(toys.conv_chain(), recipe, discover())
