"""Run the benchmarks and print one JSON object; what lacks its network or images is left out.

Usage: python -m tests.benchmarks.run [NAME ...]
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from tests.benchmarks import (
    accuracy,
    finetuning,
    full_precision,
    hailo,
    noise,
    recovery,
    scripts,
    speed,
    startup,
)
from tests.benchmarks.common import LITE0

ALWAYS: dict[str, Callable[[], Any]] = {
    "startup": startup.startup,
    "scripts": scripts.parsing,
}
WITH_SHARED: dict[str, Callable[[], Any]] = {
    "accuracy": accuracy.lite0,
    "emulator": speed.emulator,
    "hailo_emulator": hailo.emulator,
    "hailo_accuracy": hailo.accuracy,
    "min_max": speed.min_max,
    "optimize": speed.optimize,
    "memory": speed.memory,
    "pruning": full_precision.pruning,
    "equalization": full_precision.equalization,
    "equalizing_time": full_precision.equalizing_time,
    "ibc": recovery.ibc,
    "gptq": recovery.gptq,
    "analyze": noise.simple,
    "analyze_advanced": noise.advanced,
    "qft_w4a8": finetuning.w4a8,
    "qft_w8a8": finetuning.w8a8,
    "qft_compressed": finetuning.compressed,
    "qft_resnet20": finetuning.resnet20,
    "qft_agreement": finetuning.agreement,
}


def main(names: list[str]) -> None:
    """Run the benchmarks called `names`, or all, and print their results."""
    known = ALWAYS | (WITH_SHARED if LITE0.exists() else {})
    unknown = set(names) - set(known)
    if unknown:
        sys.exit(f"unknown or without data here: {', '.join(sorted(unknown))}")
    results: dict[str, Any] = {"cores": os.cpu_count()}
    for name in names or known:
        print(f"{name} …", file=sys.stderr)
        results[name] = known[name]()
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
