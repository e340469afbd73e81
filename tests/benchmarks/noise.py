"""Time of noise analysis on EfficientNet-Lite0, in passes over the same images.

256 calibration images quantize the network to a8_w4; there is no seed.
"""

from typing import Any

import fewbits
from fewbits.analysis import analyze
from fewbits.builtin.cpu import CpuTarget
from fewbits.data import ArrayDataset
from fewbits.model import Stage
from fewbits.runtime import Session

from tests.benchmarks.common import LITE0, calibration, ratio


def simple(images: int = 128) -> dict[str, Any]:
    """Mode simple, sessions and all, in units of one float and one emulated pass."""
    return _measured("simple", images)


def advanced(images: int = 16) -> dict[str, Any]:
    """Mode advanced in the same units, and by how many places it was divided."""
    return _measured("advanced", images, pairs=1)


def _measured(mode: str, images: int, pairs: int = 3) -> dict[str, Any]:
    model = fewbits.parse(LITE0)
    recipe = ["quantize:precision=a8_w4"]
    quantized = fewbits.optimize(model, calibration=calibration(), recipe=recipe)
    target, data = CpuTarget(), calibration(images)
    slow, fast = Session(quantized.at(Stage.OPTIMIZED).network), target.emulator(quantized)

    def passes() -> None:
        _pass(slow, data)
        _pass(fast, data)

    def analysis() -> None:
        found.append(analyze(quantized, data, target, mode=mode))

    found: list[Any] = []
    measured = ratio(analysis, passes, pairs=pairs)
    units = {"in passes": round(1.0 / measured["speed"], 2), "places": len(found[-1].rows)}
    return {**measured, **units, "images": images}


def _pass(runnable: Any, data: ArrayDataset, batch_size: int = 4) -> None:
    for batch in data.batches(batch_size):
        runnable.run(batch.inputs)
