"""How large the steps are, over the course of training."""

import math


def rate(step: int, steps: int, warmup: int, cycles: int = 1) -> float:
    """Return the factor of the learning rate at a step.

    It grows linearly over the first `warmup` steps and falls by half a cosine to 0 over each
    cycle; each cycle starts half as high as the one before (Finkelstein et al. 2022, section 4:
    three cycles from 1e-4).

    Args:
        step: number of the step, from 0.
        steps: number of steps in all.
        warmup: number of steps in which it grows.
        cycles: number of cosines.

    >>> [round(rate(step, 8, 2), 3) for step in range(8)]
    [0.5, 1.0, 1.0, 0.933, 0.75, 0.5, 0.25, 0.067]
    """
    if step < warmup:
        return (step + 1) / warmup
    length = (steps - warmup) / cycles
    cycle, place = divmod(step - warmup, max(length, 1.0))
    return float(0.5**cycle) * 0.5 * (1.0 + math.cos(math.pi * place / max(length, 1.0)))
