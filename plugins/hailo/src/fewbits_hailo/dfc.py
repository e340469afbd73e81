"""Compiles with Hailo's Dataflow Compiler on this machine, or says that it is not there."""

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from fewbits.data import Dataset
from fewbits.errors import TargetError
from fewbits.model import Model

from fewbits_hailo import build
from fewbits_hailo.handover import need_quantized, prepare, write

#: the compiler's Python package; it comes from Hailo's developer zone, by login only.
PACKAGE = "hailo_sdk_client"


def need_compiler(device: str) -> None:
    """Raise TargetError unless the compiler is installed on this machine."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise TargetError(
            f"Hailo's Dataflow Compiler (Python package {PACKAGE}) is not installed here, and it "
            f"alone makes files for {device}.",
            hint="Add --bundle DIR: it writes all that a machine with the compiler needs, and "
            "`python DIR/compile.py` there makes the HEF.",
        )


def compile_here(
    model: Model,
    device: str,
    calibration: Dataset | None,
    har: Path | None = None,
    lines: Sequence[str] = (),
) -> bytes:
    """Return the HEF of a quantized model.

    Args:
        model: at stage `quantized`.
        device: the architecture.
        calibration: unlabelled samples.
        har: where the compiler's own archive is kept; None throws it away.
        lines: more lines of a model script for the compiler.

    Raises:
        TargetError: the compiler is not installed, or it failed; the cause says at what.
        DataError: there are no samples.
    """
    need_quantized(model, device)
    need_compiler(device)
    handover = prepare(model, device, calibration, lines)
    with tempfile.TemporaryDirectory(prefix="fewbits-hailo-") as made:
        folder = Path(made)
        write(handover, folder)
        kept = None if har is None else folder / "kept.har"
        data = _build(folder, device, kept)
        if kept is not None and har is not None:
            shutil.move(kept, har)
    return data


def _build(folder: Path, device: str, har: Path | None) -> bytes:
    try:
        with redirect_stdout(sys.stderr):  # the compiler talks much, and results go to stdout
            return build.build(folder, har)
    except Exception as error:  # the compiler has exceptions of many kinds, none of them documented
        said = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        raise TargetError(
            f"Hailo's Dataflow Compiler failed on the model for {device}. {said}",
            hint="Add --bundle DIR to see and change what it was given, then run "
            "`python DIR/compile.py`.",
        ) from error


def write_bundle(
    model: Model,
    device: str,
    calibration: Dataset | None,
    folder: Path,
    lines: Sequence[str] = (),
) -> list[Path]:
    """Write what a machine with the compiler needs into an empty folder; return the files.

    Raises:
        TargetError: the model is not quantized, or cannot be said in ONNX for the compiler.
        DataError: there are no samples.
    """
    return write(prepare(model, device, calibration, lines), folder)
