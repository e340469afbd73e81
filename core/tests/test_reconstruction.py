"""Moments of a layer's input before and now, against dense computations."""

import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.graph import constant, layers, set_constant
from fewbits.hessian import Moments, columns, input_moments, weight_matrix
from fewbits.reconstruction import Paired, paired_moments
from fewbits.testing import toys
from fewbits.testing.inspection import context


def shaken(model):
    """Return the model with its first layer's weight changed."""
    new = model.copy()
    first = next(layers(new.graph))
    set_constant(first.weight, constant(first.weight) * np.float32(0.7))
    return new


def dense(rng, rows=3, size=5, count=80):
    x = rng.normal(0.5, 1.0, (size, count))
    y = x + 0.3 * rng.normal(size=(size, count))
    weight = rng.normal(size=(1, rows, size))
    paired = Paired(
        Moments((x @ x.T)[None], x.sum(axis=1)[None], count, count),
        Moments((y @ y.T)[None], y.sum(axis=1)[None], count, count),
        (x @ y.T)[None],
    )
    return x, y, weight, paired


@pytest.mark.parametrize("toy", ["conv_chain", "depthwise", "gemm", "conv_transpose"])
def test_streamed_sums_are_those_of_all_columns(toy):
    model = toys.TOYS[toy]()
    data = toys.calibration(model, 21)
    name = [layer.name for layer in layers(model.graph)][-1]
    (layer,) = [each for each in layers(model.graph) if each.name == name]
    changed = shaken(model)
    found = paired_moments(changed, model, [name], context(CpuTarget(), data))[name]
    for side, network in ((found.before, model), (found.now, changed)):
        alone = input_moments(network, [name], context(CpuTarget(), data))[name]
        np.testing.assert_allclose(side.second, alone.second, rtol=1e-5, atol=1e-3)
        assert (side.count, side.samples) == (alone.count, 21)
    before, now = (_input(network, layer, data.inputs) for network in (model, changed))
    wanted = np.einsum("gcp,gdp->gcd", columns(layer, before), columns(layer, now))
    np.testing.assert_allclose(found.cross, wanted, rtol=1e-3, atol=1e-2)


def _input(model, layer, data):
    from fewbits.calibration import values_by_name
    from fewbits.runtime import Session

    network = model.network.clone()
    name = str(layer.input.name)
    network.graph.outputs.append(values_by_name(network.graph)[name])
    return Session(network, threads=1, outputs=[name]).run(data)[name]


def test_best_dense_weight_is_the_regression_on_the_new_input():
    x, y, weight, paired = dense(np.random.default_rng(0))
    found = weight[0] @ paired.cross_hessian()[0] @ np.linalg.inv(paired.now.hessian()[0])
    wanted = np.linalg.lstsq(y.T, (weight[0] @ x).T, rcond=None)[0].T
    np.testing.assert_allclose(found, wanted, rtol=1e-8)
    centered = paired.cross_hessian(centered=True)[0]
    found = weight[0] @ centered @ np.linalg.inv(paired.now.hessian(centered=True)[0])
    ones = np.vstack([y, np.ones(y.shape[1])])
    wanted = np.linalg.lstsq(ones.T, (weight[0] @ x).T, rcond=None)[0].T[:, :-1]
    np.testing.assert_allclose(found, wanted, rtol=1e-8)


def test_signal_and_noise_are_sums_of_squares():
    rng = np.random.default_rng(0)
    x, y, weight, paired = dense(rng)
    new, bias, shift = rng.normal(size=weight.shape), rng.normal(size=3), rng.normal(size=3)
    signal = np.sum((weight[0] @ x + bias[:, None]) ** 2)
    noise = np.sum((weight[0] @ x - new[0] @ y - shift[:, None]) ** 2)
    assert paired.signal(weight, bias) == pytest.approx(signal)
    assert paired.noise(weight, new, shift) == pytest.approx(noise)
    same = Paired.same(paired.now)
    noise = np.sum(((weight[0] - new[0]) @ y - shift[:, None]) ** 2)
    assert same.noise(weight, new, shift) == pytest.approx(noise)
    gap = (weight[0] @ x - new[0] @ y).mean(axis=1)
    np.testing.assert_allclose(paired.mean_shift(weight, new), gap)


def test_order_of_columns_is_that_of_the_weight():
    rng = np.random.default_rng(0)
    _, _, weight, paired = dense(rng)
    new, order = rng.normal(size=weight.shape), rng.permutation(5)
    shift = np.zeros(3)
    moved = paired.ordered(order).noise(weight[..., order], new[..., order], shift)
    assert moved == pytest.approx(paired.noise(weight, new, shift))


def test_shrinkage_falls_with_more_samples_and_rises_with_fewer():
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(20, 20))
    found = []
    for count in (15, 150, 15000):
        x = mix @ rng.normal(size=(20, count))
        moments = Moments((x @ x.T)[None], x.sum(axis=1)[None], count, count)
        found.append(float(moments.shrinkage[0]))
    assert 1.0 > found[0] > found[1] > found[2] > 0.0
    isotropic = Moments(np.eye(4)[None] * 9, np.zeros((1, 4)), 10, 10)
    assert isotropic.shrinkage[0] == 1.0


def test_weight_matrix_is_what_the_sums_are_for():
    layer = next(layers(toys.gemm().graph))
    assert weight_matrix(layer, constant(layer.weight)).shape == (1, 16, 32)
