"""Run two forms of a network on random numbers and compare."""

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

_TOLERANCE = 1e-4  # of the largest output; kernels may add in another order


def dimensions(shape: Iterable[int | ir.SymbolicDim]) -> list[int | str | None]:
    """Return a shape as plain numbers and names."""
    return [d if isinstance(d, int) else d.value for d in shape]


def random_inputs(
    network: ir.Model, size: int, rng: np.random.Generator
) -> dict[str, NDArray[np.generic]]:
    """Return input name → `size` samples: normal for floats, 0 or 1 for integers and booleans.

    An input whose first dimension is fixed gets that many; a scalar gets one number.
    """
    return {str(value.name): _random(value, size, rng) for value in network.graph.inputs}


def _random(value: ir.Value, size: int, rng: np.random.Generator) -> NDArray[np.generic]:
    assert value.shape is not None
    assert value.dtype is not None
    shape = [d if isinstance(d, int) else size for d in dimensions(value.shape)]
    dtype = value.dtype.numpy()
    if value.dtype.is_floating_point():
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def close(a: NDArray[np.generic], b: NDArray[np.generic]) -> bool:
    """Say whether both have the same shape, and values equal up to the order of additions."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind not in "fiub":
        return np.array_equal(a, b)
    x, y = a.astype(np.float64), b.astype(np.float64)
    limit = _TOLERANCE * max(float(np.abs(y).max(initial=0)), 1e-12)
    return bool(np.allclose(x, y, rtol=0, atol=limit, equal_nan=True))
