"""`fewbits replay`: an archive's history runs again, and the digests are compared."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fewbits.cli.common import Json, NoPlugin, Quiet, Threads, command, session_of
from fewbits.cli.flags import CalibCount, CalibPath
from fewbits.cli.source import open_data

if TYPE_CHECKING:
    from fewbits.replaying import Replayed

app = command()


@app.command("replay")
def replay(
    ctx: typer.Context,
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="The archive.")],
    calib_path: CalibPath = None,
    calib_count: CalibCount = None,
    threads: Threads = None,
    json: Json = False,
    quiet: Quiet = False,
    no_plugin: NoPlugin = None,
) -> None:
    """Run an archive's history again and compare digests.

    The calibration data is opened where it was then, or at --calib-path. The exit code is 1 when
    a digest differs.
    """
    session = session_of(ctx)
    from fewbits import api
    from fewbits.model import Stage

    model = api.load(archive)
    calibration = open_data(session, calib_path, model.at(Stage.PARSED), calib_count)
    with session.progress():
        steps = api.replay(
            model, calibration=calibration, threads=threads, registry=session.registry
        )
    same = all(step.same for step in steps)
    from fewbits.cli import render

    if json:
        result = {"model": model.name, "same": same, "steps": [asdict(step) for step in steps]}
        render.print_json(result)
    elif not quiet:
        _show(steps, same)
    if not same:
        raise typer.Exit(1)


def _show(steps: list["Replayed"], same: bool) -> None:
    from fewbits.cli import render

    if not steps:
        render.text("The archive's history holds no steps after parsing.")
        return
    render.table(
        ("step", "expected", "actual", "same", "note"),
        [(s.use, s.expected[:12], s.actual[:12], s.same, s.note) for s in steps],
    )
    render.text("Every digest is the same." if same else "A digest differs.")
