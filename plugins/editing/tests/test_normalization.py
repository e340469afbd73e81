"""`normalization`: what goes in raw gives what went in normalized."""

import numpy as np
import pytest
from fewbits.errors import ModelError, RecipeError
from fewbits.graph import constant, layers
from fewbits.preprocess import Preprocess
from fewbits.testing import AlgorithmContract, toys
from fewbits.testing.algorithm import masked
from fewbits.testing.inspection import context, float_outputs, relative_difference
from fewbits.testing.net import Net
from fewbits_editing.affine import scaled, shift
from fewbits_editing.normalization import Normalization
from fewbits_editing.options import NormalizationOptions
from PIL import Image

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def step(**options):
    return Normalization(NormalizationOptions(**options))


class TestOneNumber(AlgorithmContract):
    toys = tuple(name for name in toys.TOYS if name != "two_inputs")

    @pytest.fixture
    def algorithm(self):
        return step(mean=0.5, std=2.0)

    def undone(self, algorithm, inputs):
        return {name: (x - np.float32(0.5)) / np.float32(2) for name, x in inputs.items()}


class TestPerChannel(AlgorithmContract):
    toys = ("conv_chain", "depthwise", "silu", "two_outputs", "strided")

    @pytest.fixture
    def algorithm(self):
        return step(mean=(0.5, -0.25, 1.0), std=(2.0, 0.5, 1.5))

    def undone(self, algorithm, inputs):
        return {
            name: normalized(x, (0.5, -0.25, 1.0), (2.0, 0.5, 1.5)) for name, x in inputs.items()
        }


def normalized(x, mean, std):
    shape = (1, -1, *[1] * (x.ndim - 2))
    mean, std = (np.asarray(n, np.float32).reshape(shape) for n in (mean, std))
    return (x - mean) / std


def pixels(seed=0, count=4):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3, 12, 12)).astype(np.float32)


def network(pads, *, group=1, relu=True):
    net = Net(f"first_{pads}_{group}")
    x = net.conv(net.input("image", 3, 12, 12), 3, 6, group=group, pads=[pads] * 4, bias=False)
    x = net.op("Relu", x) if relu else x
    net.output(x, 6, 10 + 2 * pads, 10 + 2 * pads)
    return net.build()


def run(model, x):
    return float_outputs(model, {"image": x})[model.output_names[0]]


@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("pads", [0, 1, 2])
def test_raw_pictures_give_what_normalized_ones_gave(pads, group):
    model = network(pads, group=group)
    edited = apply_to(model, mean=MEAN, std=STD)
    before, after = run(model, normalized(pixels(), MEAN, STD)), run(edited, pixels())
    assert relative_difference(before, after) < 1e-6
    border = (slice(None), slice(None), 0)
    assert relative_difference(before[border], after[border]) < 1e-6


def apply_to(model, **options):
    return step(**options).apply(model, context(None)).model


def test_without_padding_everything_is_in_the_layer():
    edited = apply_to(network(0), mean=MEAN, std=STD)
    assert [node.op_type for node in edited.graph] == ["Conv", "Relu"]


def test_with_padding_the_mean_is_subtracted_in_front_and_the_report_says_why():
    outcome = step(mean=MEAN, std=STD).apply(network(1), context(None))
    assert [node.op_type for node in outcome.model.graph] == ["Sub", "Conv", "Relu"]
    folded, added = outcome.report.layers
    assert (folded.action, folded.values["takes"]) == ("folded", "std")
    assert (added.layer, added.action) == ("image.mean", "added")
    assert "zeros around" in added.values["because"]


def test_padding_without_a_mean_is_folded_whole():
    edited = apply_to(network(1), mean=0, std=255)
    assert [node.op_type for node in edited.graph] == ["Conv", "Relu"]
    assert relative_difference(run(network(1), pixels() / 255), run(edited, pixels())) < 1e-6


def test_what_is_no_layer_gets_both_ops_and_the_very_same_numbers():
    net = Net("pooled_first")
    x = net.op("AveragePool", net.input("image", 3, 12, 12), kernel_shape=[2, 2], strides=[2, 2])
    net.output(x, 3, 6, 6)
    model = net.build()
    edited = apply_to(model, mean=MEAN, std=STD)
    assert [node.op_type for node in edited.graph] == ["Sub", "Div", "AveragePool"]
    assert np.array_equal(run(model, normalized(pixels(), MEAN, STD)), run(edited, pixels()))


def test_channels_last_are_normalized_along_the_last_axis():
    net = Net("channels_last")
    x = net.op("Transpose", net.input("image", 12, 12, 3), perm=[0, 3, 1, 2])
    net.output(net.conv(x, 3, 4), 4, 12, 12)
    model = net.build().replace(preprocess=Preprocess(mean=MEAN, std=STD, layout="NHWC"))
    edited = apply_to(model)
    x = pixels().transpose(0, 2, 3, 1)
    before = run(model, ((x - np.float32(MEAN)) / np.float32(STD)).astype(np.float32))
    assert relative_difference(before, run(edited, x)) < 1e-6


def test_a_gemm_of_either_orientation_takes_it_in():
    net = Net("dense")
    x = net.input("image", 5)
    weight = net.normal((5, 4), 5, name="plain")
    bias = net.constant(np.zeros(1, np.float32), "scalar_bias")
    x = net.op("Gemm", x, weight, bias)
    net.output(x, 4)
    model = net.build()
    edited = apply_to(model, mean=(1, 2, 3, 4, 5), std=(5, 4, 3, 2, 1))
    assert len(list(edited.graph)) == 1
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    before = run(model, normalized(x, (1, 2, 3, 4, 5), (5, 4, 3, 2, 1)))
    assert relative_difference(before, run(edited, x)) < 1e-5


def test_a_weight_that_others_read_stays_theirs():
    net = Net("siamese")
    image = net.input("image", 3, 12, 12)
    weight = net.normal((3, 3, 3, 3), 27, name="shared")
    x = net.conv(image, 3, 3, weight=weight, pads=[0] * 4)
    net.output(net.conv(x, 3, 3, weight=weight, pads=[0] * 4), 3, 8, 8)
    model = masked(net.build())
    edited = apply_to(model, mean=MEAN, std=STD)
    assert np.array_equal(
        edited.graph.initializers["shared"].const_value.numpy(),
        model.graph.initializers["shared"].const_value.numpy(),
    )
    first = next(layers(edited.graph))
    assert not constant(first.weight)[~edited.masks[first.weight.name]].any()
    before = run(model, normalized(pixels(), MEAN, STD))
    assert relative_difference(before, run(edited, pixels())) < 1e-6


def test_one_of_several_inputs_is_named():
    model = toys.two_inputs()
    with pytest.raises(RecipeError, match="has 2 inputs") as caught:
        apply_to(model, mean=1, std=2)
    assert "input=left" in caught.value.hint
    edited = apply_to(model, mean=1, std=2, input="right")
    data = toys.calibration(model, 2).inputs
    before = float_outputs(model, {"left": data["left"], "right": (data["right"] - 1) / 2})
    after = float_outputs(edited, data)
    assert all(relative_difference(before[name], after[name]) < 1e-5 for name in before)


def test_the_preprocessing_stops_and_pictures_still_give_the_same():
    said = Preprocess(crop=12, mean=MEAN, std=STD)
    model = network(1).replace(preprocess=said)
    edited = apply_to(model)
    assert edited.preprocess == Preprocess(crop=12)
    assert edited.ancestors[0].preprocess == said
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (20, 16, 3), np.uint8))
    before = run(model, said.apply(picture)[None])
    assert relative_difference(before, run(edited, edited.preprocess.apply(picture)[None])) < 1e-6


def test_bgr_means_follow_the_networks_order():
    said = Preprocess(crop=12, mean=MEAN[::-1], std=STD[::-1], channels="BGR")
    model = network(0).replace(preprocess=said)
    edited = apply_to(model, mean=MEAN[::-1], std=STD[::-1])
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (20, 16, 3), np.uint8))
    before = run(model, said.apply(picture)[None])
    assert relative_difference(before, run(edited, edited.preprocess.apply(picture)[None])) < 1e-6


@pytest.mark.parametrize(
    ("said", "options", "match"),
    [
        (None, {}, "nothing says by what"),
        (Preprocess(), {}, "nothing says by what"),
        (Preprocess(), {"mean": 1, "std": 2}, "does not normalize"),
        (Preprocess(mean=3, std=2), {"mean": 1, "std": 2}, "is 'mean=3,std=2'"),
        (Preprocess(mean=1, std=2), {"mean": 1, "std": 2, "data": "raw"}, "data=raw"),
        (None, {"mean": (1, 2), "std": 2}, "mean has 2 values, and the input has 3"),
        (None, {"mean": 1, "std": 2, "input": "imag"}, "no input 'imag'"),
    ],
)
def test_what_does_not_fit_is_refused(said, options, match):
    with pytest.raises(RecipeError, match=match) as caught:
        apply_to(network(0).replace(preprocess=said), **options)
    assert caught.value.hint


def test_raw_samples_of_a_plain_preprocessing_are_taken_at_the_users_word():
    model = network(0).replace(preprocess=Preprocess(crop=12))
    edited = apply_to(model, mean=1, std=2, data="raw")
    assert edited.preprocess == model.preprocess


def test_nothing_to_do_is_said_to_be_nothing():
    outcome = step(mean=0, std=1).apply(network(0), context(None))
    assert not outcome.report.changed
    assert "nothing to do" in outcome.report.summary


def test_an_input_that_is_an_output_too_is_refused():
    net = Net("through")
    x = net.input("image", 3, 4, 4)
    net.output(x, 3, 4, 4)
    net.output(net.conv(x, 3, 2), 2, 4, 4)
    with pytest.raises(ModelError, match="an input that is no output"):
        apply_to(net.build(), mean=1, std=2)


def test_options_go_together():
    with pytest.raises(ValueError, match="give mean and std"):
        NormalizationOptions(mean=1)
    with pytest.raises(ValueError, match="cannot be 0"):
        NormalizationOptions(mean=1, std=(1, 0, 1))


def test_folding_is_the_closed_form_for_grouped_weights():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(6, 2, 3, 3))
    mean, std = rng.normal(size=6), rng.uniform(0.5, 2, 6)
    patch = rng.normal(size=(6, 3, 3))
    for out in range(6):
        mine = slice(2 * (out // 2), 2 * (out // 2) + 2)
        inside = (patch[mine] - mean[mine, None, None]) / std[mine, None, None]
        expected = (weight[out] * inside).sum()
        raw = (scaled(weight, std, 3)[out] * patch[mine]).sum() + shift(weight, mean, std, 3)[out]
        assert raw == pytest.approx(expected)
