"""One whole quantization in a process of its own; prints its seconds and peak memory as JSON.

Both sides read the same JPEG files lazily and write their result to a file.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.common import LITE0, SHARED

IMAGES = SHARED / "data" / "imagenet1k_sample"
PREPROCESS = "resize=256,crop=224,mean=127,std=128"


def _opened(images: int) -> tuple[Any, Any]:
    """Return the parsed network and its calibration images, read lazily."""
    import fewbits
    from fewbits.api import open_data
    from fewbits.plugins import from_environment
    from fewbits.preprocess import parse_preprocess

    model = fewbits.parse(LITE0, preprocess=parse_preprocess(PREPROCESS))
    return model, _repeated(open_data(IMAGES, model, from_environment()), images)


def with_fewbits(images: int, folder: Path) -> None:
    """Parse, calibrate with histograms, quantize, write the archive and the compiled file."""
    import fewbits

    model, data = _opened(images)
    quantized = fewbits.optimize(model, calibration=data, recipe="quantize")
    fewbits.save(quantized, folder / "lite0.fewbits")
    fewbits.compile(quantized, folder / "lite0.onnx")


def with_onnxruntime(images: int, folder: Path) -> None:
    """Run quantize_static with its defaults: min-max ranges, per-channel weights."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    _, data = _opened(images)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[Any] = data.batches(8)

        def get_next(self) -> Any:
            batch = next(self.batches, None)
            return None if batch is None else dict(batch.inputs)

    quantize_static(
        str(LITE0),
        str(folder / "lite0.onnx"),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
    )


def _repeated(data: Any, images: int) -> Any:
    """Return `images` rows: every fourth, then from the start again as often as needed."""
    rows = list(range(0, len(data), 4))
    rows += [i for i in range(len(data)) if i % 4][: max(images - len(rows), 0)]
    return data.select((rows * (images // len(rows) + 1))[:images])


def peak_mb() -> float:
    """Return this process's peak resident memory in megabytes.

    The kernel's high-water mark begins at exec; `ru_maxrss` would count the parent's memory too.
    """
    status = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return round(kilobytes / 1024, 1)


if __name__ == "__main__":
    run = {"fewbits": with_fewbits, "onnxruntime": with_onnxruntime}[sys.argv[1]]
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        run(int(sys.argv[2]), Path(scratch))
        taken = time.perf_counter() - start
    print(json.dumps({"seconds": round(taken, 3), "peak_mb": peak_mb()}))
