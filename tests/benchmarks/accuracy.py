"""Accuracy of the compiled file, as the independent judge measures it."""

import tempfile
from pathlib import Path
from typing import Any

import fewbits

from tests.benchmarks.common import LITE0, calibration, judge

RECIPES = {
    "a8_w8": "quantize",
    "a8_w8 min-max": "quantize:activation_range=minmax,weight_range=minmax",
    "a8_w8 without bias correction": "quantize:bias_correction=false",
    "a8_w8 per tensor": "quantize:weights=per_tensor",
    "a16_w8": "quantize:precision=a16_w8",
    "a8_w4": "quantize:precision=a8_w4",
}


def lite0() -> dict[str, Any]:
    """EfficientNet-Lite0: 256 calibration images, 744 others judged."""
    model = fewbits.parse(LITE0)
    data = calibration()
    return {name: _judged(model, recipe, data) for name, recipe in RECIPES.items()}


def _judged(model: Any, recipe: str, data: Any) -> Any:
    quantized = fewbits.optimize(model, calibration=data, recipe=[recipe])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "compiled.onnx"
        fewbits.compile(quantized, path)
        return judge().judge(LITE0, path)
