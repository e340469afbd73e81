"""Columns at some positions are those of all positions, picked."""

import numpy as np
import pytest
from fewbits.graph import layers
from fewbits.layermatrix import columns, columns_at, positions
from fewbits.testing import toys


@pytest.mark.parametrize("toy", sorted(toys.TOYS))
def test_columns_at_are_those_columns(toy):
    rng = np.random.default_rng(0)
    for layer in layers(toys.TOYS[toy]().graph):
        if layer.op_type in ("Gemm", "MatMul"):
            size = layer.weight.shape[1 - layer.weight_axis]
            shape = (3, 4, size) if layer.op_type == "MatMul" else (3, size)
        elif layer.op_type == "ConvTranspose":
            shape = (3, layer.weight.shape[0], 6, 5)
        else:
            spatial = (9, 8)[: len(layer.weight.shape) - 2]
            shape = (3, layer.weight.shape[1] * layer.groups, *spatial)
        x = rng.standard_normal(shape).astype(np.float32)
        each = positions(layer, x)
        places = rng.integers(0, each, (3, 4))
        picked = (np.arange(3)[:, None] * each + places).ravel()
        np.testing.assert_array_equal(columns_at(layer, x, places), columns(layer, x)[:, :, picked])
