"""From a quantized model to the bytes that a target runs."""

import time
from typing import Any

from fewbits import archive
from fewbits.container import sha256
from fewbits.data import Dataset
from fewbits.errors import ModelError
from fewbits.interfaces import Target
from fewbits.model import Model, Stage
from fewbits.provenance import Report, StepRecord
from fewbits.targets import need_fit

#: key in a compilation's report under which the executable's digest stands.
FILE_DIGEST = "file_sha256"


def quantized(model: Model) -> Model:
    """Return the model at its quantized stage.

    Raises:
        ModelError: it has none.
    """
    if model.stage.rank < Stage.QUANTIZED.rank:
        raise ModelError(
            f"{model.name} is {model.stage}, not quantized.", hint="Run `fewbits optimize` first."
        )
    return model.at(Stage.QUANTIZED)


def compile_model(
    model: Model,
    target: Target,
    *,
    calibration: Dataset | None = None,
    distribution: str = "",
    version: str = "",
) -> tuple[Model, bytes]:
    """Compile for a target.

    Args:
        model: at stage `quantized` or `compiled`.
        target: the device.
        calibration: unlabelled samples, for a device whose own compiler calibrates again.
        distribution: the pip distribution that the target came from, for the record.
        version: that distribution's version.

    Returns:
        The model at stage `compiled`, its content unchanged and one record longer, and the bytes
        of the executable, whose digest stands in the record's report.

    Raises:
        ModelError: the model is not quantized.
        TargetError: the target cannot run it; names the first layer, the limit and the remedy.
    """
    source = quantized(model)
    need_fit(source, target)
    start = time.perf_counter()
    data = target.compile(source, calibration)
    seconds = time.perf_counter() - start
    compiled = model.advance(Stage.COMPILED)
    summary = f"compiled for {target.name}, {len(data)} bytes"
    record = StepRecord(
        use=target.name,
        distribution=distribution,
        version=version,
        options=target.options.model_dump(mode="json"),
        seed=0,
        data={},
        target=target.name,
        input_digest=archive.digest(source),
        output_digest=archive.digest(compiled),
        seconds=seconds,
        report=Report(False, summary, metrics=_metrics(data, calibration)),
    )
    return compiled.replace(history=(*model.history, record)), data


def _metrics(data: bytes, calibration: Dataset | None) -> dict[str, Any]:
    """Return what is written down of a file, and of the samples that it was made with."""
    metrics: dict[str, Any] = {"bytes": len(data), FILE_DIGEST: sha256(data)}
    if calibration is not None:
        digest = calibration.describe().get("digest", "")
        metrics |= {"samples": len(calibration), "samples_digest": digest}
    return metrics
