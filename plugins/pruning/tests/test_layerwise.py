"""What one layer's account says, from moments alone, against the columns themselves."""

import numpy as np
import pytest
from fewbits.graph import layers
from fewbits.hessian import Moments
from fewbits.testing import toys
from fewbits_pruning.layerwise import Task, mean_shift, output_snr


def dense(rng, groups=2, rows=3, size=5, count=80):
    """Return columns `(groups, size, count)` and a task whose moments are theirs."""
    x = rng.normal(0.5, 1.0, (groups, size, count))
    weight = rng.normal(size=(groups, rows, size))
    moments = Moments(x @ x.swapaxes(1, 2), x.sum(axis=2), count, count)
    layer = next(layers(toys.gemm().graph))
    return x, Task(layer, weight, np.ones(weight.shape, bool), moments, True, 0.01)


def test_output_snr_is_signal_over_noise_of_the_outputs():
    rng = np.random.default_rng(0)
    x, task = dense(rng)
    new, bias, shift = task.weight * 0.8, rng.normal(size=6), 0.1 * rng.normal(size=6)
    signal = np.sum(((task.weight @ x).reshape(6, -1) + bias[:, None]) ** 2)
    noise = np.sum((((task.weight - new) @ x).reshape(6, -1) - shift[:, None]) ** 2)
    wanted = 10.0 * np.log10(signal / noise)
    assert output_snr(task, new, bias, shift) == pytest.approx(wanted)


def test_mean_shift_is_the_mean_of_what_is_gone():
    x, task = dense(np.random.default_rng(0))
    new = np.where(np.abs(task.weight) > 0.5, task.weight, 0.0)
    gone = ((task.weight - new) @ x).mean(axis=2).ravel()
    np.testing.assert_allclose(mean_shift(task, new), gone)


def test_a_layer_that_stays_has_no_noise():
    _, task = dense(np.random.default_rng(0))
    assert output_snr(task, task.weight, np.zeros(6), np.zeros(6)) == 140.0
