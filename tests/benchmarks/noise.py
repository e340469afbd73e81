"""Cost of noise analysis on EfficientNet-Lite0, in passes over the same images.

256 calibration images quantize the network to a8_w4; there is no seed.
"""

import statistics
import time
from collections.abc import Callable
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
    """Mode advanced in the same units, and how many places were tried."""
    return _measured("advanced", images, pairs=1)


def _measured(mode: str, images: int, pairs: int = 3) -> dict[str, Any]:
    model = fewbits.parse(LITE0)
    recipe = ["quantize:precision=a8_w4"]
    quantized = fewbits.optimize(model, calibration=calibration(), recipe=recipe)
    target, data = CpuTarget(), calibration(images)

    def both(threads: int | None) -> tuple[Callable[[], Any], Callable[[], Any]]:
        slow = Session(quantized.at(Stage.OPTIMIZED).network, threads=threads)
        fast = target.emulator(quantized, threads)
        return (
            lambda: analyze(quantized, data, target, mode=mode, threads=threads),
            lambda: (_pass(slow, data), _pass(fast, data)),
        )

    places = len(analyze(quantized, data.select([0]), target).rows)
    measured = ratio(*both(None), pairs=pairs)
    alone, passes = both(1)
    turns = [_processor(alone) / _processor(passes) for _ in range(pairs)]
    return {
        **measured,
        "in passes": round(1.0 / measured["speed"], 2),
        "in passes, processor time of one thread": round(statistics.median(turns), 2),
        "places": places,
        "images": images,
    }


def _processor(work: Callable[[], Any]) -> float:
    """Return the processor time of a call, which other processes do not add to."""
    start = time.process_time()
    work()
    return time.process_time() - start


def _pass(runnable: Any, data: ArrayDataset, batch_size: int = 4) -> None:
    for batch in data.batches(batch_size):
        runnable.run(batch.inputs)
