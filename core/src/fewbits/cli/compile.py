"""`fewbits compile`: the file that a target runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fewbits.cli.common import BatchSize, Json, NoPlugin, Quiet, Seed, Threads, command, session_of
from fewbits.cli.flags import (
    AllowDowngrade,
    CalibCount,
    CalibPath,
    CompressionLevel,
    EndNodes,
    HwArch,
    InputShape,
    Levels,
    OptimizationLevel,
    ParseFlags,
    PreprocessText,
    Run,
    Source,
    StartNodes,
)
from fewbits.cli.source import check_output, ensure_quantized, open_model, update_archive

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.model import Model

app = command()


@app.command("compile")
def compile_model(
    ctx: typer.Context,
    file: Source,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="The file to write; default: NAME.TARGET.…"
        ),
    ] = None,
    hw_arch: HwArch = "cpu",
    calib_path: CalibPath = None,
    calib_count: CalibCount = None,
    optimization_level: OptimizationLevel = None,
    compression_level: CompressionLevel = None,
    allow_downgrade: AllowDowngrade = False,
    preprocess: PreprocessText = None,
    start_node_names: StartNodes = None,
    end_node_names: EndNodes = None,
    input_shape: InputShape = None,
    seed: Seed = 0,
    threads: Threads = None,
    batch_size: BatchSize = 4,
    json: Json = False,
    quiet: Quiet = False,
    no_plugin: NoPlugin = None,
) -> None:
    """Write the file that the target runs.

    A model that is not quantized yet is quantized first; that takes --calib-path. An archive
    gets the new stages.
    """
    session = session_of(ctx)
    path = output or default_path(session, file, hw_arch)
    check_output(path, file, archive=False)
    flags = ParseFlags(start_node_names, end_node_names, input_shape, preprocess)
    model = open_model(session, file, flags)
    levels = Levels(optimization_level, compression_level, allow_downgrade)
    run = Run(calib_path, calib_count, hw_arch, seed, threads, batch_size, levels)
    quantized = ensure_quantized(session, model, run)
    from fewbits import api
    from fewbits.atomic import write_bytes
    from fewbits.cli import render
    from fewbits.cli.info import size_text

    with session.working(f"compiling for {hw_arch}"):
        compiled, data = api.compiled(quantized, target=hw_arch, registry=session.registry)
        write_bytes(path, data)
        known = _holds(model, compiled)
        archive = None if known else update_archive(session, file, compiled)
    if json:
        report = {"model": model.name, "target": hw_arch, "path": str(path), "bytes": len(data)}
        render.print_json(report | {"archive": None if archive is None else str(archive)})
    elif not quiet:
        render.text(f"Wrote {path} ({size_text(len(data))}) for {hw_arch}")


def default_path(session: "Session", file: Path, target: str) -> Path:
    """Return NAME.TARGET with the target's own ending, in the current folder."""
    device = session.registry.load("target", target)
    return Path(f"{file.stem}.{target}{device.suffix}")


def _holds(before: "Model", compiled: "Model") -> bool:
    """Say whether the last thing done to the model was this same compilation."""
    if before.stage is not compiled.stage:
        return False
    old, new = before.history[-1], compiled.history[-1]
    return (old.use, old.version, old.report.metrics) == (new.use, new.version, new.report.metrics)
