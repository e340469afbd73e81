"""What the benchmarks share: the networks, the images and how times are compared."""

import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from fewbits.data import ArrayDataset

SHARED = Path(__file__).resolve().parents[3] / "shared"
LITE0 = SHARED / "models" / "efficientnet_lite0.onnx"
RESNET20 = SHARED / "models" / "resnet20_cifar10_bn.onnx"


def judge() -> ModuleType:
    """Load the independent judge that lies beside the networks."""
    path = SHARED / "peers" / "judge.py"
    spec = importlib.util.spec_from_file_location("judge", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def calibration(count: int = 256) -> ArrayDataset:
    """Return the first `count` of the calibration images, as the network takes them."""
    images, _ = judge().split()
    return ArrayDataset({"input": judge().normalized(images[:count])})


def cifar() -> tuple[ArrayDataset, ArrayDataset]:
    """Return 1024 pictures to calibrate ResNet20 with, and 3072 others with labels."""
    about = json.loads((SHARED / "models" / "models.json").read_text())["resnet20_cifar10"]["input"]
    mean, std = (np.asarray(about[key], np.float32) for key in ("mean", "std"))
    with np.load(SHARED / "data" / "cifar10_jpeg.npz") as held:
        calib, images = (
            np.ascontiguousarray(((held[key] - mean) / std).transpose(0, 3, 1, 2))
            for key in ("calib_images", "images")
        )
        labels = held["labels"].astype(np.int64)
    name = about["name"]
    return ArrayDataset({name: calib}), ArrayDataset({name: images}, labels)


def seconds(work: Callable[[], Any]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(ours: Callable[[], Any], theirs: Callable[[], Any], pairs: int = 5) -> dict[str, Any]:
    """Time two pieces of work in turn, and return the median of time(theirs) / time(ours)."""
    ours(), theirs()
    times = [(seconds(ours), seconds(theirs)) for _ in range(pairs)]
    ratios = [b / a for a, b in times]
    return {
        "speed": round(statistics.median(ratios), 3),
        "min": round(min(ratios), 3),
        "max": round(max(ratios), 3),
        "seconds": round(statistics.median(a for a, _ in times), 3),
        "reference_seconds": round(statistics.median(b for _, b in times), 3),
        "pairs": pairs,
    }
