"""What bias correction and rounding by Hessians win back on EfficientNet-Lite0.

256 calibration images, 744 others judged; both algorithms are deterministic, there is no seed.
"""

import tempfile
from pathlib import Path
from typing import Any

import fewbits
import numpy as np
from fewbits.builtin.cpu import CpuTarget
from fewbits.data import ArrayDataset
from fewbits.interfaces import Context
from fewbits.model import Stage
from fewbits.runtime import Session

from tests.benchmarks.common import LITE0, calibration, judge, ratio

GPTQ = {
    "quantize alone": [],
    "gptq": ["gptq"],
    "gptq, symmetric": ["gptq:asymmetric=false"],
    "gptq, symmetric, scales kept, no refinement": ["gptq:asymmetric=false,scales=keep,refine=0"],
    "ibc": ["ibc"],
}


def ibc() -> dict[str, Any]:
    """Time of `ibc` in passes over its images, its shifts, and accuracy without and with it."""
    model, data = fewbits.parse(LITE0), calibration()
    plain = fewbits.optimize(model, calibration=data, recipe=["quantize"])
    uncorrected = fewbits.optimize(
        model, calibration=data, recipe=["quantize:bias_correction=false"]
    )
    corrected = fewbits.optimize(plain, calibration=data, recipe=["ibc"])
    return {
        "passes": _passes(plain, data),
        "shift": _of_either(plain, data),
        "shift from uncorrected biases": _of_either(uncorrected, data),
        "a8_w8": _judged(plain),
        "a8_w8, ibc": _judged(corrected),
    }


def gptq() -> dict[str, Any]:
    """Accuracy at 4-bit weights, every layer, and how long the step took."""
    model, data = fewbits.parse(LITE0), calibration()
    start = fewbits.optimize(model, calibration=data, recipe=["quantize:precision=a8_w4"])
    found = {}
    for name, steps in GPTQ.items():
        held = fewbits.optimize(start, calibration=data, recipe=steps) if steps else start
        found[name] = {**_judged(held), "seconds": round(held.history[-1].seconds, 1)}
    return found


def _passes(model: fewbits.Model, data: ArrayDataset) -> dict[str, Any]:
    """Time `ibc` against one float and one emulated pass over the same images, in turn."""
    slow, fast = Session(model.at(Stage.OPTIMIZED).network), CpuTarget().emulator(model)

    def passes() -> None:
        for runnable in (slow, fast):
            for batch in data.batches(8):
                runnable.run(batch.inputs)

    measured = ratio(
        lambda: fewbits.optimize(model, calibration=data, recipe=["ibc:snr_samples=0"]),
        passes,
        pairs=3,
    )
    return {**measured, "ibc in passes": round(1.0 / measured["speed"], 2)}


def _of_either(before: fewbits.Model, data: ArrayDataset) -> dict[str, Any]:
    """Return the shifts behind activations, and in front of them where those are matched."""
    found: dict[str, Any] = {}
    for match in ("activation", "pre_activation"):
        after = fewbits.optimize(
            before, calibration=data, recipe=[f"ibc:match={match},snr_samples=0"]
        )
        for name, images in (("own images", data), ("other images", _others())):
            found[f"{match}, {name}"] = _shifts(before, after, images, match)
    return found


def _shifts(
    before: fewbits.Model, after: fewbits.Model, data: ArrayDataset, match: Any
) -> dict[str, float]:
    """Return the root mean square of all channels' shifts before and after."""
    from fewbits_ibc.algorithm import model_shifts

    context = Context(CpuTarget(), data)
    first, second = (
        float(np.sqrt(np.mean(np.concatenate(list(model_shifts(m, context, match).values())) ** 2)))
        for m in (before, after)
    )
    return {"before": first, "after": second, "times smaller": round(first / second, 1)}


def _others() -> ArrayDataset:
    """Return 256 of the images that are not for calibration."""
    _, others = judge().split()
    return ArrayDataset({"input": judge().normalized(others[:256])})


def _judged(model: fewbits.Model) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "compiled.onnx"
        fewbits.compile(model, path)
        return dict(judge().judge(LITE0, path))
