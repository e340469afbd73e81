"""What the full-precision steps gain and cost, judged on images that chose nothing."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import fewbits
import onnx_ir as ir
from fewbits.builtin.cpu import CpuTarget
from fewbits.data import ArrayDataset
from fewbits.interfaces import Context
from fewbits.model import Model, Stage
from fewbits.plugins import discover
from fewbits.runtime import Session

from tests.benchmarks.common import LITE0, SHARED, calibration, judge, ratio

MOBILENET = SHARED / "models" / "mobilenetv2_tfquant_dequant.onnx"
PRUNED = {
    "magnitude, bias correction off": "pruning:pattern=2:4,method=magnitude,bias_correction=false",
    "magnitude": "pruning:pattern=2:4,method=magnitude",
    "obs": "pruning:pattern=2:4",
}
QUANTIZED = ("quantize", "quantize:precision=a8_w4", "quantize:weights=per_tensor")


def pruning() -> dict[str, Any]:
    """EfficientNet-Lite0 at 2:4, in float and at W8A8: against the float network, 744 images."""
    return {name: pruned(step) for name, step in PRUNED.items()}


def pruned(step: str) -> dict[str, Any]:
    """Judge one way of pruning EfficientNet-Lite0, before and after `quantize`."""
    made = fewbits.optimize(fewbits.parse(LITE0), calibration=calibration(), recipe=[step])
    whole = fewbits.optimize(made, calibration=calibration(), recipe=["quantize"])
    return {"float": _judged(LITE0, made, {}), "a8_w8": _judged(LITE0, whole, {})}


def equalization(steps: tuple[str, ...] = ("equalization",)) -> dict[str, Any]:
    """Both networks with and without `equalization`, per channel and per tensor, 744 images."""
    found: dict[str, Any] = {}
    for network, mean, offset in ((LITE0, 127.0, 0), (MOBILENET, 127.5, 1)):
        spread = {"mean": (mean,) * 3, "std": (128.0 if offset == 0 else mean,) * 3}
        images, _ = judge().split()
        data = ArrayDataset({"input": judge().normalized(images, **spread)})
        for last in QUANTIZED:
            for recipe in ([last], *([step, last] for step in steps)):
                made = fewbits.optimize(fewbits.parse(network), calibration=data, recipe=recipe)
                name = f"{network.stem}: {', '.join(recipe)}"
                found[name] = _judged(network, made, spread | {"label_offset": offset})
    return found


def equalizing_time() -> dict[str, Any]:
    """Equalizing EfficientNet-Lite0, statistics included, against one float pass, 256 images."""
    model, data = fewbits.parse(LITE0), calibration()
    context = Context(target=CpuTarget(), calibration=data)
    found = {}
    for weights in ("per_tensor", "per_channel"):
        step = discover().create("algorithm", "equalization", {"weights": weights})
        found[weights] = ratio(partial(step.apply, model, context), lambda: _pass(model, data))
    return found


def _pass(model: Model, data: Any) -> None:
    session = Session(model.network)
    for batch in data.batches(8):
        session.run(batch.inputs)


def _judged(network: Path, model: Model, how: dict[str, Any]) -> dict[str, Any]:
    """Let the judge compare a model, in float or compiled, with the network it came from."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "judged.onnx"
        if model.stage is Stage.QUANTIZED:
            fewbits.compile(model, path)
        else:
            ir.save(model.network, path)
        return dict(judge().judge(network, path, **how))
