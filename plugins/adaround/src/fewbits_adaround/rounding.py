"""AdaRound of one layer (Nagel et al. 2020): a relaxed choice between two integers per weight.

    W_q = s · (base + h(V))        h(V) = clip(sigmoid(V) · (ζ − γ) + γ, 0, 1)        (eq. 22, 23)

    minimise  ‖f(W·x + b) − f(W_q·x̂ + b̂)‖² + λ · Σ (1 − |2·h(V) − 1|^β)              (eq. 24, 25)

`f` is the fused activation, `x` the float network's input, `x̂` the quantized one's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

ZETA, GAMMA = 1.1, -0.1
SETTLED = 0.01
#: how much the squared error counts beside the regularizer, for each weight, as it is when all are
#: rounded to nearest. The paper's error is not scaled, so that its balance follows the layer's size
#: and units; this one is the same for every layer.
BALANCE = 1e-5
#: steps between two looks whether every choice is made.
_LOOK = 32
#: a quadratic form is taken where a layer has at most so many columns for each sample of a step.
_NARROW = 2


@dataclass(frozen=True)
class Problem:
    """One layer to round, as matrices; `g` groups, `o` rows and `d` columns each, `p` samples.

    Args:
        base: the lower of the two integers of each weight, `(g, o, d)`.
        start: `h` to start from, in 0..1, `(g, o, d)`.
        free: weights that have a choice; the others stay at `base`, `(g, o, d)`.
        anchor: the float weight, `(g, o, d)`.
        scale: step of each row, `(g, o, 1)`.
        bias: `b̂`, `(g, o, 1)`.
        x: the quantized layer's input columns, `(g, d, p)`.
        target: what the float layer gives behind its activation, `(g, o, p)`.
        low: lower bound of the activation, such as 0; minus infinity without one.
        high: upper bounds, `(g, o, 1)` or `()`.
    """

    base: Tensor
    start: Tensor
    free: Tensor
    anchor: Tensor
    scale: Tensor
    bias: Tensor
    x: Tensor
    target: Tensor
    low: float
    high: Tensor

    @property
    def linear(self) -> bool:
        """Whether no activation is fused behind the layer."""
        return self.low == -torch.inf and bool(torch.isinf(self.high).all())

    def weight(self, h: Tensor) -> Tensor:
        """Return `W_q`."""
        return self.scale * (self.base + torch.where(self.free, h, 0.0))

    def error(self, weight: Tensor, bias: Tensor, part: slice = slice(None)) -> Tensor:
        """Return the squared error, summed over rows and averaged over some of the samples."""
        y = torch.baddbmm(bias, weight, self.x[..., part])
        if not self.linear:
            y = torch.minimum(y.clamp_min(self.low), self.high)
        return (y - self.target[..., part]).square().sum() / y.shape[-1]

    def columns(self, part: slice) -> "Problem":
        """Return the same problem on some of the samples."""
        held = {**vars(self), "x": self.x[..., part], "target": self.target[..., part]}
        return Problem(**held)


@dataclass(frozen=True)
class Schedule:
    """How long and how hard.

    Args:
        steps: of Adam.
        width: samples in a step.
        learning_rate: of `V`.
        warmup: share of the steps before the regularizer sets in.
        weight: `λ`.
        b_range: `β` from, to.
        train_bias: whether the bias learns too.
    """

    steps: int
    width: int
    learning_rate: float
    warmup: float
    weight: float
    b_range: tuple[float, float]
    train_bias: bool

    def beta(self, step: int) -> float | None:
        """Return `β` at a step, falling linearly behind the warm-up; None before.

        >>> s = Schedule(10, 1, 1e-3, 0.2, 0.01, (20.0, 2.0), True)
        >>> s.beta(1), s.beta(2), s.beta(6)
        (None, 20.0, 11.0)
        """
        first = self.warmup * self.steps
        if step < first:
            return None
        done = (step - first) / max(self.steps - first, 1)
        return self.b_range[0] + (self.b_range[1] - self.b_range[0]) * done


@dataclass(frozen=True)
class Rounded:
    """What was learnt.

    Args:
        up: whether each weight takes the upper of its two integers, `(g, o, d)`.
        bias: `(g, o, 1)`.
        settled: share of the free weights whose `h` ended within 0.01 of 0 or 1.
        unsettled: how many did not.
    """

    up: Tensor
    bias: Tensor
    settled: float
    unsettled: int


def rectified_sigmoid(v: Tensor) -> Tensor:
    """Return `clip(sigmoid(v) · (ζ − γ) + γ, 0, 1)` (equation 23)."""
    return (torch.sigmoid(v) * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)


def inverse(h: Tensor) -> Tensor:
    """Return the `v` with `rectified_sigmoid(v) = h`, for `h` in 0..1."""
    return torch.log((h - GAMMA) / (ZETA - h))


def undecided(h: Tensor, beta: float) -> Tensor:
    """Return `Σ (1 − |2h − 1|^β)`: 0 where every `h` is 0 or 1 (equation 24)."""
    return (1.0 - (2.0 * h - 1.0).abs().pow(beta)).sum()


def learn(problem: Problem, schedule: Schedule, ridge: Tensor | None = None) -> Rounded:
    """Learn the rounding of one layer.

    Args:
        problem: the layer.
        schedule: how long and how hard.
        ridge: of each group, `(g,)`: `ridge · E[x²] · ‖W_q − W‖²` is added to the error, as if `x`
            had that much more power in every direction, for layers that saw few samples.
    """
    v = inverse(problem.start).requires_grad_()
    shift = torch.zeros_like(problem.bias, requires_grad=schedule.train_bias)
    size = problem.target.square().mean().sqrt().clamp_min(1e-12)
    learning = [v, shift] if schedule.train_bias else [v]
    optimizer = torch.optim.Adam(learning, schedule.learning_rate, fused=True)
    error = _error_of(problem, schedule, ridge)
    count = int(problem.free.sum())
    nearest = problem.error(problem.weight(problem.start.round()), problem.bias)
    share = BALANCE * count / float(nearest.clamp_min(1e-20))
    for step in range(schedule.steps):
        h = rectified_sigmoid(v)
        loss = share * error(problem.weight(h), problem.bias + size * shift, step)
        beta = schedule.beta(step)
        if beta is not None:
            if step % _LOOK == 0 and not bool((problem.free & (h > 0.0) & (h < 1.0)).any()):
                break  # no gradient reaches a choice that is made
            loss = loss + schedule.weight * undecided(h, beta)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        h = rectified_sigmoid(v)
        loose = int((problem.free & (h > SETTLED) & (h < 1.0 - SETTLED)).sum())
        bias = problem.bias + size * shift.detach()
        return Rounded(problem.free & (h >= 0.5), bias, 1.0 - loose / max(count, 1), loose)


def _error_of(
    problem: Problem, schedule: Schedule, ridge: Tensor | None
) -> Callable[[Tensor, Tensor, int], Tensor]:
    """Return the squared error as a function of weight, bias and step."""
    columns, total = problem.x.shape[1:]
    width = min(schedule.width, total)
    if problem.linear and columns <= _NARROW * width:
        plain = quadratic(problem)
    else:
        last = max(total - width + 1, 1)

        def plain(weight: Tensor, bias: Tensor, step: int) -> Tensor:
            start = step * width % last
            return problem.error(weight, bias, slice(start, start + width))

    if ridge is None or not bool((ridge > 0.0).any()):
        return plain
    power = (ridge * problem.x.square().mean(dim=(1, 2)))[:, None, None]

    def held(weight: Tensor, bias: Tensor, step: int) -> Tensor:
        return plain(weight, bias, step) + (power * (weight - problem.anchor).square()).sum()

    return held


def quadratic(problem: Problem) -> Callable[[Tensor, Tensor, int], Tensor]:
    """Return the squared error of a layer without an activation, from second moments alone.

    With `1` as one more input whose weight is the bias, `E‖W·x − t‖² = Σ (W·A − 2·C) ∘ W + E‖t‖²`,
    `A = E[x·xᵀ]`, `C = E[t·xᵀ]`: what a step costs does not depend on the number of samples.
    """
    ones = torch.ones_like(problem.x[:, :1])
    x = torch.cat([problem.x, ones], dim=1)
    second = torch.matmul(x, x.mT) / x.shape[-1]
    mixed = torch.matmul(problem.target, x.mT) / x.shape[-1]
    power = problem.target.square().sum() / x.shape[-1]

    def error(weight: Tensor, bias: Tensor, step: int) -> Tensor:
        both = torch.cat([weight, bias], dim=2)
        return ((torch.matmul(both, second) - 2.0 * mixed) * both).sum() + power

    return error
