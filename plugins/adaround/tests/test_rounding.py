"""The mathematics of one layer, against closed forms, every rounding there is, and plain loops."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fewbits_adaround.rounding import (  # noqa: E402
    Problem,
    Schedule,
    inverse,
    learn,
    quadratic,
    rectified_sigmoid,
    undecided,
)

NONE = torch.tensor(torch.inf)


def problem(rows=4, columns=6, samples=64, *, low=-torch.inf, high=NONE, seed=0, groups=1):
    rng = torch.Generator().manual_seed(seed)
    mixed = torch.randn(columns, columns // 2, generator=rng)
    x = torch.einsum(
        "dk,gkp->gdp", mixed, torch.randn(groups, columns // 2, samples, generator=rng)
    )
    x = x + 0.3 * torch.randn(groups, columns, samples, generator=rng)
    weight = torch.randn(groups, rows, columns, generator=rng)
    bias = 0.1 * torch.randn(groups, rows, 1, generator=rng)
    scale = weight.abs().amax(dim=2, keepdim=True) / 3.0
    base = (weight / scale).floor().clamp(-3, 2)
    target = torch.minimum((weight @ x + bias).clamp_min(low), high)
    start = (weight / scale - base).clamp(0.0, 1.0)
    free = torch.ones_like(base, dtype=torch.bool)
    return Problem(base, start, free, weight, scale, bias, x, target, low, high)


def schedule(**changes):
    settings = Schedule(300, 64, 0.03, 0.2, 0.01, (20.0, 2.0), False)
    return replace(settings, **changes)


def every_error(task):
    """Return the error of each rounding of the first row, the others as they are."""
    for choice in product([0.0, 1.0], repeat=task.base.shape[2]):
        yield float(task.error(task.weight(torch.tensor(choice)[None, None]), task.bias))


def test_rectified_sigmoid_reaches_both_ends_and_is_undone():
    h = torch.linspace(0.0, 1.0, 21)
    torch.testing.assert_close(rectified_sigmoid(inverse(h)), h, atol=1e-6, rtol=0)
    assert float(rectified_sigmoid(torch.tensor(3.0))) == 1.0
    assert float(rectified_sigmoid(torch.tensor(-3.0))) == 0.0
    middle = 1.2 / (1.0 + np.exp(-0.4)) - 0.1
    assert float(rectified_sigmoid(torch.tensor(0.4))) == pytest.approx(middle)


def test_undecided_is_zero_at_both_ends_and_one_in_the_middle():
    assert float(undecided(torch.tensor([0.0, 1.0]), 5.0)) == 0.0
    assert float(undecided(torch.tensor([0.5, 0.5]), 5.0)) == 2.0
    assert float(undecided(torch.tensor([0.75]), 2.0)) == pytest.approx(0.75)


def test_beta_waits_for_the_warm_up_and_falls_to_its_end():
    settings = schedule(steps=100)
    assert settings.beta(19) is None
    assert settings.beta(20) == 20.0
    assert settings.beta(60) == pytest.approx(11.0)
    assert settings.beta(99) == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize("seed", range(4))
def test_a_row_is_rounded_nearly_as_well_as_the_best_of_all_roundings(seed):
    task = problem(rows=1, columns=8, seed=seed)
    learnt = learn(task, schedule())
    found = float(task.error(task.weight(learnt.up.float()), learnt.bias))
    nearest = float(task.error(task.weight(task.start.round()), task.bias))
    ranked = sorted(every_error(task))
    assert found <= ranked[len(ranked) // 10], "among the best tenth of 256"
    assert found <= nearest


def test_uncorrelated_inputs_leave_nothing_to_gain_over_nearest():
    """Closed form: with E[x·xᵀ] = I each weight counts by itself, and nearest is best."""
    task = problem(rows=3, columns=4, samples=64)
    x = torch.eye(4).repeat(1, 16)[None] * 2.0
    task = replace(task, x=x, target=task.anchor @ x + task.bias)
    learnt = learn(task, schedule())
    clear = (task.start - 0.5).abs() > 0.05
    assert torch.equal(learnt.up[clear], (task.start >= 0.5)[clear])
    assert learnt.settled == 1.0
    assert learnt.unsettled == 0


def test_the_quadratic_form_is_the_squared_error():
    task = problem(groups=3, seed=1)
    weight = task.anchor + 0.1
    bias = task.bias - 0.2
    by_moments = quadratic(task)(weight, bias, 0)
    torch.testing.assert_close(by_moments, task.error(weight, bias), rtol=1e-4, atol=1e-4)


def test_through_an_activation_what_is_cut_off_does_not_count():
    task = problem(rows=2, samples=256, low=0.0, high=torch.tensor(1.0))
    dead = replace(task, bias=task.bias - 1e4, target=torch.zeros_like(task.target))
    assert float(dead.error(dead.weight(dead.start.round()), dead.bias)) == 0.0
    task = problem(rows=6, columns=16, samples=256, low=0.0, high=torch.tensor(1.0))
    learnt = learn(task, schedule(width=128))
    before = task.error(task.weight(task.start.round()), task.bias)
    assert task.error(task.weight(learnt.up.float()), learnt.bias) < before


def test_weights_without_a_choice_stay_where_they_are():
    task = problem()
    free = task.free.clone()
    free[0, :, 2] = False
    task = replace(task, free=free)
    learnt = learn(task, schedule(steps=50))
    assert not learnt.up[0, :, 2].any()
    weight = task.weight(learnt.up.float())
    torch.testing.assert_close(weight[0, :, 2], (task.scale * task.base)[0, :, 2])


def test_a_bias_that_may_learn_takes_up_a_shift():
    task = problem(rows=2, samples=256)
    task = replace(task, target=task.target + 0.7)
    fixed = learn(task, schedule())
    learnt = learn(task, schedule(train_bias=True))
    assert torch.equal(fixed.bias, task.bias)
    mean = (task.target - torch.baddbmm(learnt.bias, task.weight(learnt.up.float()), task.x)).mean(
        2
    )
    assert float(mean.abs().max()) < 0.2


def test_a_ridge_keeps_a_layer_of_few_samples_near_its_float_weight():
    task = problem(rows=6, columns=40, samples=8, seed=2)
    plain = learn(task, schedule(width=8))
    held = learn(task, schedule(width=8), torch.tensor([100.0]))
    away = [float((task.weight(r.up.float()) - task.anchor).square().sum()) for r in (plain, held)]
    nearest = float((task.weight(task.start.round()) - task.anchor).square().sum())
    assert away[1] == pytest.approx(nearest, rel=0.02)
    assert away[1] < away[0]


def test_the_same_problem_is_rounded_the_same():
    first, second = (learn(problem(seed=3), schedule()) for _ in range(2))
    assert torch.equal(first.up, second.up)
