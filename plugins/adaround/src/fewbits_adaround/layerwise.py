"""AdaRound of one visited layer: its problem, what was learnt, and whether that is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fewbits.hessian import Moments
from fewbits.layermatrix import from_matrix, weight_matrix
from fewbits.metrics import SNR_LIMIT_DB
from fewbits.walk import Visit
from numpy.typing import NDArray

from fewbits_adaround.options import AdaRoundOptions
from fewbits_adaround.rounding import Problem, Rounded, Schedule, learn
from fewbits_adaround.sampling import Activation, Columns, activation, draw, halves, shuffled

Array = NDArray[np.float32]

#: share of the samples that judge what was learnt from the others.
_JUDGED = 0.125
#: positions of a sample that a step draws, about.
_POSITIONS = 8
_MOST_SHRUNK = 0.9
_FEW = 4


@dataclass(frozen=True)
class Grid:
    """The integers that a layer's weights may take, as matrices `(g, o, d)`.

    Args:
        base: the lower of the two of each weight; the only one where there is no choice.
        start: where the choice starts, in 0..1.
        free: which weights have a choice.
        scale: `(g, o, 1)`.
        anchor: the float weight.
        now: the weight as the model has it.
    """

    base: Array
    start: Array
    free: NDArray[np.bool_]
    scale: Array
    anchor: Array
    now: Array


def grid_of(visit: Visit, start: str) -> Grid:
    """Return the choices of a layer: `floor(w / s)` and the integer above, within the range.

    Pruned weights, and those beyond the largest integer, have no choice. With `start=current` the
    pair is the one on the float weight's side of the present integer, and the choice starts half
    way between the float weight and that integer.
    """
    layer, encoding = visit.layer, visit.weight_encoding
    anchor, now = (weight_matrix(layer, w) for w in (visit.float_weight, visit.weight))
    scale = _scales(visit)
    ratio, held = anchor / scale, np.rint(now / scale)
    base = np.floor(ratio)
    if start == "current":
        base = np.where(ratio >= held, held, held - 1)
    rest = np.clip(ratio - base, 0.0, 1.0)
    if start == "current":
        rest = (rest + (held - base)) / 2
    free = (base >= encoding.qmin) & (base < encoding.qmax)
    if visit.mask is not None:
        kept = weight_matrix(layer, visit.mask)
        free &= kept
        base = np.where(kept, base, 0.0)
    base = np.clip(base, encoding.qmin, encoding.qmax)
    whole, start_at, step = (np.asarray(p, np.float32) for p in (base, rest, scale))
    return Grid(whole, start_at, free, step, anchor, now)


def _scales(visit: Visit) -> NDArray[np.float64]:
    """Return each row's step, `(g, o, 1)`."""
    layer, encoding = visit.layer, visit.weight_encoding
    shape = [1] * visit.weight.ndim
    if encoding.axis is not None:
        shape[encoding.axis] = -1
    spread = np.broadcast_to(encoding.scale.reshape(shape), visit.weight.shape)
    return np.asarray(weight_matrix(layer, spread)[..., :1], np.float64)


@dataclass(frozen=True)
class Outcome:
    """What became of a layer.

    Args:
        weight: in the layer's layout; None where the rounding it had is kept.
        bias: `(out,)`; None where it has none, or the one it had is kept.
        values: figures for the report.
    """

    weight: Array | None
    bias: Array | None
    values: Mapping[str, Any]


def round_layer(
    visit: Visit, options: AdaRoundOptions, rng: np.random.Generator, device: torch.device
) -> Outcome:
    """Learn a layer's rounding, and keep it if the samples held out say that it is better.

    Args:
        visit: of the layer.
        options: of the step.
        rng: draws positions.
        device: where torch works.
    """
    grid, act = grid_of(visit, options.start), activation(visit)
    seen, judged = halves(draw(visit, options.columns, rng), _JUDGED)
    if judged.x.shape[-1] == 0 or seen.x.shape[-1] == 0:
        seen = judged = draw(visit, options.columns, rng)
    task = _problem(visit, grid, act, shuffled(seen, rng), device)
    steps = options.epochs * -(-seen.samples // options.batch_size)
    width = options.batch_size * min(seen.each, _POSITIONS)
    schedule = Schedule(
        steps,
        width,
        options.learning_rate,
        options.warmup,
        options.weight,
        options.b_range,
        options.train_bias and visit.bias is not None,
    )
    learnt = learn(task, schedule, _ridge(seen, device))
    return _better(visit, grid, learnt, _problem(visit, grid, act, judged, device))


def _problem(
    visit: Visit, grid: Grid, act: Activation, columns: Columns, device: torch.device
) -> Problem:
    bias = np.zeros(visit.layer.out_channels, np.float32) if visit.bias is None else visit.bias
    groups = len(grid.base)

    def there(array: NDArray[Any]) -> torch.Tensor:
        return torch.tensor(array, device=device)

    return Problem(
        there(grid.base),
        there(grid.start),
        there(grid.free),
        there(grid.anchor),
        there(grid.scale),
        there(bias.reshape(groups, -1, 1)),
        there(columns.x),
        there(columns.target),
        act.low,
        there(act.high),
    )


def _ridge(columns: Columns, device: torch.device) -> torch.Tensor | None:
    """Return how much power to add in every direction, `(g,)`; None where samples are plenty.

    Chen et al. 2010, as for second moments: `ρ / (1 − ρ)` of the mean power.
    """
    size, count = columns.x.shape[1:]
    if count >= _FEW * size:
        return None
    x = columns.x
    moments = Moments(
        np.matmul(x, x.swapaxes(1, 2)).astype(np.float64),
        x.sum(axis=2, dtype=np.float64),
        count,
        columns.samples,
    )
    drawn = np.minimum(moments.shrinkage, _MOST_SHRUNK)
    return torch.tensor(drawn / (1.0 - drawn), dtype=torch.float32, device=device)


def _better(visit: Visit, grid: Grid, learnt: Rounded, judged: Problem) -> Outcome:
    """Return the best of what the layer has and what was learnt, with its bias corrected or not."""
    new = judged.weight(learnt.up.float())
    now = torch.tensor(grid.now, device=judged.bias.device)
    tried = [(now, judged.bias), (new, learnt.bias)]
    if visit.bias is not None:
        tried += [(new, learnt.bias + _mean_error(judged, new, learnt.bias))]
    errors = [float(judged.error(weight, bias)) for weight, bias in tried]
    best = min(range(len(tried)), key=errors.__getitem__)
    power = float(judged.target.square().sum() / judged.target.shape[-1])
    values = {
        "settled": round(learnt.settled, 4),
        "unsettled": learnt.unsettled,
        "flipped": round(float((new != now).float().mean()), 4),
        "snr_before_db": _decibels(power, errors[0]),
        "snr_after_db": _decibels(power, errors[best]),
    }
    if best == 0:
        return Outcome(None, None, values)
    weight, bias = (part.cpu().numpy() for part in tried[best])
    held = None if visit.bias is None else _within(visit, bias.reshape(-1))
    return Outcome(from_matrix(visit.layer, weight), held, values)


def _mean_error(problem: Problem, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return how far each channel's mean is below the float one's, `(g, o, 1)`."""
    y = torch.baddbmm(bias, weight, problem.x)
    y = torch.minimum(y.clamp_min(problem.low), problem.high)
    return (problem.target - y).mean(dim=2, keepdim=True)


def _within(visit: Visit, bias: Array) -> Array:
    """Return a bias that its integers can hold."""
    encoding = visit.bias_encoding
    assert encoding is not None
    return np.asarray(np.clip(bias, encoding.low, encoding.high), np.float32)


def _decibels(signal: float, noise: float) -> float:
    if noise <= 0.0 or signal <= 0.0:
        return SNR_LIMIT_DB if noise <= 0.0 else -SNR_LIMIT_DB
    return round(float(np.clip(10 * np.log10(signal / noise), -SNR_LIMIT_DB, SNR_LIMIT_DB)), 3)
