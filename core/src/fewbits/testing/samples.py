"""Data to calibrate toy networks with."""

import numpy as np

from fewbits.data import ArrayDataset
from fewbits.errors import DataError
from fewbits.model import Model


def calibration(model: Model, count: int = 32, seed: int = 0) -> ArrayDataset:
    """Return `count` samples of unit normal noise for every input of `model`.

    Raises:
        DataError: an input has no shape, or a free dimension besides the batch.
    """
    rng = np.random.default_rng(seed)
    arrays = {}
    for value in model.graph.inputs:
        if value.name not in model.input_names:
            continue
        dimensions = None if value.shape is None else list(value.shape)[1:]
        sizes = [size for size in dimensions or () if isinstance(size, int)]
        if dimensions is None or len(sizes) < len(dimensions):
            raise DataError(
                f"input '{value.name}' of {model.name} has shape {value.shape}.",
                hint="Give every dimension but the batch a size.",
            )
        arrays[str(value.name)] = rng.normal(size=(count, *sizes)).astype(np.float32)
    return ArrayDataset(arrays)
