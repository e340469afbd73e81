"""The parts of the training by themselves: losses, schedule, samples, what is compared."""

import math

import numpy as np
import pytest
from fewbits.errors import RecipeError
from fewbits.graph import layers
from fewbits.testing import toys
from fewbits.testing.net import Net
from fewbits_qft import samples
from fewbits_qft.backbone import backbone_output, compared_tensors
from fewbits_qft.options import QftOptions
from fewbits_qft.schedule import rate
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

torch = pytest.importorskip("torch")

from fewbits_qft import losses  # noqa: E402


def test_l2rel_is_blind_to_scale_and_adds_up_over_samples():
    truth = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    found = torch.tensor([[3.0, 1.0], [2.0, 4.0]])
    assert float(losses.l2rel(found, truth)) == pytest.approx((1 + 4) / 25)
    assert float(losses.l2rel(7 * found, 7 * truth)) == pytest.approx(0.2)


def test_l2_and_cosine_in_closed_form():
    truth, found = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    assert float(losses.l2(found, truth)) == pytest.approx(0.5)
    assert float(losses.cosine(found, truth)) == pytest.approx(1 - math.sqrt(0.5))


def test_the_total_weighs_each_tensor():
    found = {"a": torch.tensor([[2.0]]), "b": torch.tensor([[0.0]])}
    truth = {"a": torch.tensor([[1.0]]), "b": torch.tensor([[1.0]])}
    assert float(losses.total("l2rel", found, truth, {"a": 0.5, "b": 3.0})) == pytest.approx(3.5)


@given(st.integers(2, 200), st.integers(1, 4), st.floats(0, 0.9))
def test_the_rate_rises_then_falls_each_cycle_to_zero(steps, cycles, share):
    warmup = min(int(share * steps), steps - 1)
    rates = [rate(step, steps, warmup, cycles) for step in range(steps)]
    assert all(0.0 <= r <= 1.0 for r in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    one = [rate(step, steps, warmup) for step in range(warmup, steps)]
    assert one == sorted(one, reverse=True)


def test_every_cycle_starts_half_as_high():
    assert [rate(step, 12, 0, 3) for step in (0, 4, 8)] == pytest.approx([1.0, 0.5, 0.25])


@given(st.integers(1, 50), st.integers(1, 200), st.integers(0, 9))
def test_a_round_shows_every_sample_as_often_as_the_others(count, wanted, seed):
    order = samples.rounds(count, wanted, np.random.default_rng(seed))
    shown = np.bincount(order, minlength=count)
    assert len(order) == wanted
    assert shown.max() - shown.min() <= 1


def pictures(count=6):
    return np.random.default_rng(0).normal(size=(count, 3, 8, 8)).astype(np.float32)


def test_samples_that_do_not_vary_are_as_they_were():
    inputs = {"x": pictures()}
    out = samples.varied(inputs, (), np.random.default_rng(0))
    np.testing.assert_array_equal(out["x"], inputs["x"])


def test_flips_are_mirror_images_of_some():
    x = pictures(40)
    out = samples.varied({"x": x}, ("flip",), np.random.default_rng(0))["x"]
    same = (out == x).all(axis=(1, 2, 3))
    mirrored = (out == x[..., ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 5 < mirrored.sum() < 35


def test_mixed_samples_lie_between_two_and_all_inputs_mix_alike():
    x = pictures(8)
    y = x.reshape(8, -1)[:, :5].copy()
    out = samples.varied({"x": x, "y": y}, ("mix",), np.random.default_rng(3))
    np.testing.assert_allclose(out["x"].reshape(8, -1)[:, :5], out["y"], rtol=1e-6)
    assert out["x"].dtype == np.float32
    rows = x.reshape(8, -1).astype(np.float64)
    for mixed, own in zip(out["x"].reshape(8, -1), rows, strict=True):
        assert min(_unexplained(mixed, own, other) for other in rows) < 1e-5


def _unexplained(mixed, own, other):
    """Return how far `mixed` is from the line from `own` to halfway to `other`."""
    along = other - own
    share = (mixed - own) @ along / (along @ along) if along.any() else 0.0
    return np.abs(mixed - own - np.clip(share, 0.0, 0.5) * along).max()


def test_shifted_pictures_hold_the_same_pixels():
    x = pictures()
    out = samples.varied({"x": x}, ("shift",), np.random.default_rng(0))["x"]
    pixels = (np.sort(each.reshape(len(x), -1), axis=1) for each in (x, out))
    np.testing.assert_array_equal(*pixels)
    assert (out != x).any()


def test_whole_numbers_stay():
    tokens = np.arange(12).reshape(3, 4)
    out = samples.varied({"t": tokens}, ("flip", "mix", "shift"), np.random.default_rng(0))
    np.testing.assert_array_equal(out["t"], tokens)


def test_the_backbone_ends_before_the_last_global_pool():
    model = toys.two_outputs()
    pool = next(node for node in model.graph if node.op_type == "GlobalAveragePool")
    assert backbone_output(model.graph) is None  # the stem feeds the dense head too
    assert pool.inputs[0].name not in compared_tensors(model, (), ())
    net = Net("plain")
    x = net.op("Relu", net.conv(net.input("image", 3, 8, 8), 3, 4))
    pooled = net.op("Flatten", net.op("GlobalAveragePool", x))
    net.output(net.gemm(pooled, 4, 2), 2)
    plain = net.build()
    assert backbone_output(plain.graph) == x
    assert compared_tensors(plain, (), ()) == {x: 1.0, plain.output_names[0]: 1.0}


def test_the_pool_of_a_squeeze_and_excite_block_is_no_backbones_end():
    assert backbone_output(toys.se_block().graph) is None


def test_a_mean_over_the_spatial_axes_is_a_global_pool():
    assert backbone_output(toys.conv1d().graph) is not None


def test_named_layers_are_compared_behind_their_activations_with_their_factors():
    model = toys.conv_chain()
    first = next(node for node in model.graph if node.op_type == "Conv")
    relu = first.outputs[0].consumers()[0].outputs[0].name
    assert compared_tensors(model, [first.name], [0.5]) == {relu: 0.5}


def test_an_unknown_layer_is_an_error_that_names_the_nearest():
    with pytest.raises(RecipeError, match="conv_99") as caught:
        compared_tensors(toys.conv_chain(), ["conv_99"], ())
    assert "conv_" in caught.value.hint


def test_what_is_never_held_cannot_be_compared():
    model = toys.conv_chain()
    fused = next(layer for layer in layers(model.graph) if layer.activation is not None)
    inside = str(fused.node.outputs[0].name)
    with pytest.raises(RecipeError, match=f"'{inside}' lies in front of the activation") as caught:
        compared_tensors(model, [inside], ())
    assert fused.name in caught.value.hint


def test_factors_must_match_the_layers():
    with pytest.raises(ValidationError, match="one number for each"):
        QftOptions(loss_layer_names=["a"], loss_factors=[1.0, 2.0])
