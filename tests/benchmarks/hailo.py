"""The emulator of a Hailo target: speed against float32, accuracy against the processor's."""

from typing import Any

import fewbits
import numpy as np
from fewbits.interfaces import Runnable
from fewbits.plugins import from_environment
from fewbits.runtime import Session

from tests.benchmarks.common import LITE0, calibration, judge, ratio

STEPS = {
    "a8_w8": ["equalization", "quantize"],
    "a8_w4": ["equalization", "quantize:precision=a8_w4"],
}


def emulator() -> dict[str, Any]:
    """Throughput of hailo8's emulator against float32 on EfficientNet-Lite0, batch 8."""
    model, data = fewbits.parse(LITE0), calibration(128)
    quantized = fewbits.optimize(model, calibration=data, recipe="quantize", target="hailo8")
    device = from_environment().create("target", "hailo8", {})
    fast, plain = device.emulator(quantized), Session(model.network)
    return ratio(lambda: _pass(fast, data), lambda: _pass(plain, data))


def accuracy() -> dict[str, Any]:
    """The judge's score of hailo8's emulator and of cpu's, on the 744 images, equalized first."""
    model, data = fewbits.parse(LITE0), calibration()
    _, images = judge().split()
    inputs = judge().normalized(images)
    wanted = _logits(Session(model.network), inputs)
    found: dict[str, Any] = {}
    for mode, recipe in STEPS.items():
        for name in ("cpu", "hailo8"):
            quantized = fewbits.optimize(model, calibration=data, recipe=recipe, target=name)
            device = from_environment().create("target", name, {})
            logits = _logits(device.emulator(quantized), inputs)
            found[f"{mode} {name}"] = judge().score(wanted, logits, images)
    return found


def _logits(runnable: Runnable, inputs: Any) -> Any:
    parts = (inputs[start : start + 8] for start in range(0, len(inputs), 8))
    return np.concatenate([next(iter(runnable.run({"input": x}).values())) for x in parts])


def _pass(runnable: Runnable, data: Any) -> None:
    for batch in data.batches(8):
        runnable.run(batch.inputs)
