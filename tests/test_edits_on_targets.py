"""Edits of a network's ends on targets with float ops between integers, and without."""

import fewbits
import numpy as np
import pytest
from fewbits.plugins import from_environment
from fewbits.preprocess import Preprocess
from fewbits.testing import toys
from PIL import Image

NV12 = "input_conversion:kind=nv12_to_rgb,emulator_support=true"
EDITS = {
    "normalization": ["normalization"],
    "nv12": ["normalization", NV12],
    "layout": ["normalization", "input_layout"],
    "softmax": ["normalization", "logits"],
    "sigmoid": ["output_activation:activation=sigmoid"],
}


@pytest.fixture(scope="module")
def registry():
    return from_environment()


@pytest.fixture(scope="module")
def pictures():
    """Return 24 smooth 8-bit pictures."""
    rng = np.random.default_rng(0)
    small = (Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)) for _ in range(24))
    return np.stack([np.asarray(each.resize((12, 12))) for each in small])


@pytest.mark.parametrize("target", ["cpu", "hailo8"])
@pytest.mark.parametrize("edits", EDITS)
def test_an_edited_network_runs_on_the_target(edits, target, registry, pictures):
    said = Preprocess(mean=(120, 110, 100), std=(60, 50, 70))
    model = toys.conv_chain().replace(preprocess=said)
    recipe = [*EDITS[edits], "quantize"]
    made = fewbits.optimize(
        model, calibration=pictures, recipe=recipe, target=target, registry=registry
    )
    measured = fewbits.evaluate(made, pictures, registry=registry)
    assert measured.metrics["fidelity"]["snr_db"] > 25
