"""Noise analysis of real networks, those that lie beside the repository."""

from pathlib import Path

import fewbits
import numpy as np
import pytest
from fewbits.data import ArrayDataset, input_specs_of

MODELS = Path(__file__).resolve().parents[2].parent / "shared" / "models"
#: what the file leaves open.
SHAPES = {"ch_ppocr_mobile_v2.0_cls_infer": (3, 48, 192)}
NETWORKS = sorted(MODELS.glob("*.onnx"))


def images(model, count):
    rng = np.random.default_rng(0)
    shapes = {spec.name: [side or 1 for side in spec.shape[1:]] for spec in input_specs_of(model)}
    return ArrayDataset(
        {n: rng.normal(size=(count, *shape)).astype(np.float32) for n, shape in shapes.items()}
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_both_modes_find_the_same_places(path):
    model = fewbits.parse(path, input_shape=SHAPES.get(path.stem))
    data = images(model, 2)
    after = fewbits.optimize(model, calibration=data, recipe=["quantize:precision=a8_w4"])
    simple = fewbits.analyze(after, data)
    alone = fewbits.analyze(after, data, mode="advanced")
    assert [row.layer for row in simple.rows] == [row.layer for row in alone.rows]
    assert set(after.precisions) <= {row.layer for row in simple.rows}
    assert sum(row.alone.share for row in alone.rows) == pytest.approx(1.0)
    assert all(np.isfinite(row.snr_db) for row in simple.rows)
    # noise powers of layers that are quantized one at a time add up, roughly, to that of all
    together = np.mean([10 ** (-snr / 10) for snr in simple.outputs.values()])
    added = sum(10 ** (-row.alone.output_snr_db / 10) for row in alone.rows)
    assert abs(10 * np.log10(together / added)) < 12.0
