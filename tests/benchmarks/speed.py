"""Speed against ONNX Runtime in the same run, on the same threads."""

import json
import statistics
import subprocess
import sys
from typing import Any

import fewbits
from fewbits.builtin.cpu import CpuTarget
from fewbits.calibration import collect
from fewbits.interfaces import Context
from fewbits.placement import place
from fewbits.runtime import Session

from tests.benchmarks.common import LITE0, calibration, ratio


def emulator() -> dict[str, Any]:
    """Throughput of the emulator against float32, batch 8."""
    model = fewbits.parse(LITE0)
    data = calibration(128)
    quantized = fewbits.optimize(model, calibration=data, recipe="quantize")
    fast = CpuTarget().emulator(quantized)
    plain = Session(model.network)
    return ratio(lambda: _pass(fast, data), lambda: _pass(plain, data))


def min_max() -> dict[str, Any]:
    """Min-max statistics of every tensor against plain float inference, batch 4.

    Both sides begin with the parsed network and build their session.
    """
    model = fewbits.parse(LITE0)
    data = calibration()
    target = CpuTarget()
    names = place(model.graph, target.spec).own
    context = Context(target=target, calibration=data)
    return ratio(
        lambda: collect(model, names, context),
        lambda: _pass(Session(model.network), data, context.batch_size),
    )


def optimize(pairs: int = 5) -> dict[str, Any]:
    """A whole process of ours against one of quantize_static in turn: seconds and peak memory."""
    runs = [(_measured("fewbits"), _measured("onnxruntime")) for _ in range(pairs)]
    ratios = [theirs["seconds"] / ours["seconds"] for ours, theirs in runs]
    return {
        "speed": round(statistics.median(ratios), 3),
        "min": round(min(ratios), 3),
        "max": round(max(ratios), 3),
        "seconds": statistics.median(ours["seconds"] for ours, _ in runs),
        "reference_seconds": statistics.median(theirs["seconds"] for _, theirs in runs),
        "peak_mb": max(ours["peak_mb"] for ours, _ in runs),
        "reference_peak_mb": max(theirs["peak_mb"] for _, theirs in runs),
        "pairs": pairs,
    }


def memory() -> dict[str, Any]:
    """Peak memory of calibrating with histograms on 256 and on 1024 images."""
    return {str(n): _measured("fewbits", n)["peak_mb"] for n in (256, 1024)}


def _measured(what: str, images: int = 256) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.process", what, str(images)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _pass(runnable: Any, data: Any, batch_size: int = 8) -> None:
    for batch in data.batches(batch_size):
        runnable.run(batch.inputs)
