"""What finetuning reaches, over three seeds, as the independent judge measures it.

Nothing is chosen by the evaluation images: options were settled on parts of the calibration images.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import fewbits
import numpy as np
from fewbits.model import Model

from tests.benchmarks.common import LITE0, RESNET20, calibration, cifar, judge

SEEDS = (0, 1, 2)
W4A8 = (
    "equalization",
    "quantize:precision=a8_w4",
    "gptq",
    "qft:epochs=2,dataset_size=512,learning_rate=0.003,scale_learning_rate=0.0002",
)
W8A8 = (
    "quantize",
    "gptq",
    "qft:epochs=2,dataset_size=512,learning_rate=0.003,scale_learning_rate=0.00005",
)
SMALL = ("quantize:precision=a8_w4", "gptq", "qft:epochs=4,dataset_size=1024,batch_size=64")


def w4a8() -> list[dict[str, Any]]:
    """EfficientNet-Lite0, all weights in four bits."""
    return [_lite0(W4A8, seed) for seed in SEEDS]


def w8a8() -> list[dict[str, Any]]:
    """EfficientNet-Lite0, all weights in eight bits."""
    return [_lite0(W8A8, seed) for seed in SEEDS]


def compressed() -> list[dict[str, Any]]:
    """EfficientNet-Lite0 at optimization level 2, compression level 2."""
    model, data = fewbits.parse(LITE0), calibration()
    found = []
    for seed in SEEDS:
        start = time.perf_counter()
        quantized = fewbits.optimize(
            model,
            calibration=data,
            optimization_level=2,
            compression_level=2,
            allow_downgrade=True,
            seed=seed,
        )
        found.append(_told(quantized, seed, start))
    return found


def resnet20() -> list[dict[str, Any]]:
    """ResNet20 on CIFAR-10: 1024 images to calibrate, 3072 others judged, four-bit weights."""
    model, (data, labelled) = fewbits.parse(RESNET20), cifar()
    found = []
    for seed in SEEDS:
        start = time.perf_counter()
        quantized = fewbits.optimize(model, calibration=data, recipe=list(SMALL), seed=seed)
        seconds = time.perf_counter() - start
        evaluated = fewbits.evaluate(quantized, labelled)
        found.append({"seed": seed, "seconds": round(seconds), **evaluated.metrics})
    return found


def agreement() -> dict[str, Any]:
    """How often torch and the emulator name the same class on the 744 images, four-bit weights."""
    import torch
    from fewbits.builtin.cpu import CpuTarget
    from fewbits.trainable.network import QuantizedNetwork

    rows, name = judge().split()[1], "input"
    model = fewbits.optimize(
        fewbits.parse(LITE0), calibration=calibration(), recipe=["quantize:precision=a8_w4"]
    )
    network, emulator, same = QuantizedNetwork(model), CpuTarget().emulator(model), []
    for part in np.array_split(rows, 24):
        x = judge().normalized(part)
        with torch.no_grad():
            (ours,) = network({name: torch.from_numpy(x)}).values()
        (theirs,) = emulator.run({name: x}).values()
        same.append(ours.numpy().argmax(axis=1) == theirs.argmax(axis=1))
    return {"same_class": round(float(np.concatenate(same).mean() * 100), 2), "images": len(rows)}


def _lite0(recipe: tuple[str, ...], seed: int) -> dict[str, Any]:
    start = time.perf_counter()
    quantized = fewbits.optimize(
        fewbits.parse(LITE0), calibration=calibration(), recipe=list(recipe), seed=seed
    )
    return _told(quantized, seed, start)


def _told(quantized: Model, seed: int, start: float) -> dict[str, Any]:
    seconds = round(time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "compiled.onnx"
        fewbits.compile(quantized, path)
        judged: dict[str, Any] = judge().judge(LITE0, path)
    steps = {record.use: round(record.seconds) for record in quantized.history}
    return {"seed": seed, "seconds": seconds, "steps": steps, **judged}
