"""`fewbits compile`: the file that a target runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fewbits.cli.common import BatchSize, command, session_of
from fewbits.cli.flags import Answer, Levels, ParseFlags, Run, Source
from fewbits.cli.grouped import grouped
from fewbits.cli.source import check_output, ensure_quantized, open_model, update_archive

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.model import Model

app = command()


@app.command("compile")
@grouped
def compile_model(
    ctx: typer.Context,
    file: Source,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="The file to write; default: NAME.TARGET.…"
        ),
    ] = None,
    run: Run,
    levels: Levels,
    batch_size: BatchSize = 4,
    flags: ParseFlags,
    answer: Answer,
) -> None:
    """Write the file that the target runs.

    A model that is not quantized yet is quantized first; that takes --calib-path. An archive
    gets the new stages.
    """
    session = session_of(ctx)
    target = run.hw_arch
    path = output or default_path(session, file, target)
    check_output(path, file, archive=False)
    model = open_model(session, file, flags)
    quantized = ensure_quantized(session, model, levels, run, batch_size)
    from fewbits import api
    from fewbits.atomic import write_bytes
    from fewbits.cli import render
    from fewbits.cli.info import size_text

    with session.working(f"compiling for {target}"):
        compiled, data = api.compiled(quantized, target=target, registry=session.registry)
        write_bytes(path, data)
        known = _holds(model, compiled)
        archive = None if known else update_archive(session, file, compiled)
    if answer.json:
        report = {"model": model.name, "target": target, "path": str(path), "bytes": len(data)}
        render.print_json(report | {"archive": None if archive is None else str(archive)})
    elif not answer.quiet:
        render.text(f"Wrote {path} ({size_text(len(data))}) for {target}")


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
