"""What a batch of training holds: samples drawn from the data, varied."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from fewbits.data import Dataset
from numpy.typing import NDArray

Inputs = dict[str, NDArray[Any]]

_FURTHEST = 8  # of a picture's side
_LEAST = 0.5


def gathered(dataset: Dataset) -> Inputs:
    """Return all samples of a dataset, input name → array."""
    parts: dict[str, list[NDArray[Any]]] = {}
    for batch in dataset.batches(32):
        for name, x in batch.inputs.items():
            parts.setdefault(name, []).append(np.array(x))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def rounds(count: int, wanted: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return `wanted` numbers below `count`: all of them in chance order, again and again.

    Args:
        count: number of samples there are.
        wanted: number of samples to draw.
        rng: where chance comes from.
    """
    times = -(-wanted // count)
    return np.concatenate([rng.permutation(count) for _ in range(times)])[:wanted]


def batches(
    inputs: Inputs,
    order: NDArray[np.intp],
    size: int,
    vary: Sequence[str],
    rng: np.random.Generator,
) -> Iterator[Inputs]:
    """Yield the samples in this order, `size` at a time, varied; the last batch may be smaller.

    Args:
        inputs: input name → all samples.
        order: numbers of samples.
        size: samples a batch.
        vary: `flip`, `mix`, `shift`.
        rng: where chance comes from.
    """
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        yield varied({name: x[rows] for name, x in inputs.items()}, vary, rng)


def varied(inputs: Inputs, vary: Sequence[str], rng: np.random.Generator) -> Inputs:
    """Return samples that the float network has not labelled by their likeness to photographs.

    It answers for any input, so that a varied sample is as good a question as a real one (Beyer
    et al. 2022, "patient and consistent" teachers). `flip` mirrors every second picture on
    average, `shift` moves each around by up to an eighth of its sides, `mix` puts another sample
    over every second, with a share of up to one half. Whole numbers (tokens) stay, and only
    pictures are moved.

    Args:
        inputs: input name → a batch, pictures `(n, c, h, w)`.
        vary: which of them, in any order.
        rng: where chance comes from.
    """
    count = len(next(iter(inputs.values())))
    flips = rng.random(count) < 0.5 if "flip" in vary else np.zeros(count, np.bool_)
    moves = rng.uniform(-1.0, 1.0, (count, 2)) / _FURTHEST
    mixed = (rng.random(count) < 0.5) & ("mix" in vary)
    share = np.where(mixed, rng.uniform(_LEAST, 1.0, count), 1.0)
    partner = rng.permutation(count)
    out = {}
    for name, x in inputs.items():
        if x.ndim == 4 and np.issubdtype(x.dtype, np.floating):
            x = np.where(flips[:, None, None, None], x[..., ::-1], x)
            if "shift" in vary:
                x = _moved(x, moves)
        if "mix" in vary and np.issubdtype(x.dtype, np.floating):
            part = share.reshape(-1, *(1,) * (x.ndim - 1)).astype(x.dtype)
            x = part * x + (1 - part) * x[partner]
        out[name] = x
    return out


def _moved(x: NDArray[Any], moves: NDArray[np.float64]) -> NDArray[Any]:
    """Roll each picture by these shares of its height and width."""
    steps = np.rint(moves * x.shape[2:]).astype(int)
    return np.stack([np.roll(one, tuple(step), (1, 2)) for one, step in zip(x, steps, strict=True)])
