"""`fewbits compile`: the file that a target runs, or what another machine makes it of."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewbits.cli.common import BatchSize, command, session_of
from fewbits.cli.flags import Answer, Given, ParseFlags, Run
from fewbits.cli.grouped import grouped
from fewbits.cli.source import (
    check_output,
    ensure_quantized,
    is_quantized,
    open_data,
    open_model,
    update_archive,
)
from fewbits.cli.stepflags import StepFlags
from fewbits.cli.subject import Subject, find, is_archive
from fewbits.errors import UsageError

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.interfaces import Target
    from fewbits.model import Model

app = command()

Executable = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="The file to write; default: NAME with the target's ending, beside the archive or "
        "here; NAME.TARGET where networks have that ending.",
    ),
]
Bundle = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        metavar="DIR",
        help="Write what a machine with the target's own compiler needs into this empty or new "
        "folder, and compile nothing here.",
    ),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check",
        help="Tell all that the target cannot run, before any work; nothing is written. Exit code "
        "1 if anything stops it.",
    ),
]
SaveHar = Annotated[
    Path | None,
    typer.Option(
        "--save-har", metavar="PATH", help="Keep the Hailo compiler's own archive here too."
    ),
]


@app.command("compile")
@grouped
def compile_model(
    ctx: typer.Context,
    given: Given,
    *,
    output: Executable = None,
    bundle: Bundle = None,
    check: Check = False,
    save_har: SaveHar = None,
    run: Run,
    steps: StepFlags,
    batch_size: BatchSize = 4,
    flags: ParseFlags,
    answer: Answer,
) -> None:
    """Write the file that the target runs.

    A model that is not quantized yet is quantized first; that takes --calib-path. An archive
    gets the new stages.
    """
    session = session_of(ctx)
    if check + (bundle is not None) + (output is not None or save_har is not None) > 1:
        raise UsageError(
            "--check writes nothing, and --bundle compiles nothing here.",
            hint="Give one of --check, --bundle and --output.",
        )
    subject = find(session, given, flags.name)
    model = open_model(session, subject, flags)
    late = steps.performance and is_quantized(model)
    device = _device(session, run.target_for(model), save_har, for_speed=late)
    steps = replace(steps, performance=False) if late else steps
    if check:
        if steps.given:
            session.warn("--check looks at the model as it is: the steps are not run")
        _tell(session, model, device, answer)
        return
    path = bundle or output or default_path(session, subject, device.name)
    _need_room(path, subject, device, bundled=bundle is not None)
    run = subject.completed(run)
    quantized = ensure_quantized(session, model, subject, steps, run, batch_size)
    samples = None
    if device.needs_calibration:
        samples = open_data(session, run.calib_path, quantized, run.calib_count)
    made = _bundle if bundle is not None else _compile
    with session.working(f"compiling for {device.name}"):
        final, report = made(session, quantized, device, path, samples)
        known = final is model or _holds(model, final)
        archive = None if known else update_archive(session, subject, final)
    _print(final, device, path, report, archive, answer)


def _device(
    session: "Session", name: str, save_har: Path | None, *, for_speed: bool = False
) -> "Target":
    """Return the target with the options that are for its compiler alone.

    Raises:
        TargetError: its compiler has no setting for speed.
        FewbitsError: there is no such target, or its options do not fit.
    """
    options: dict[str, Any] = {} if save_har is None else {"har": str(save_har)}
    device: Target = session.registry.create("target", name, options)
    if for_speed:
        from fewbits.recipe import Recipe

        device.for_speed(Recipe())
        device = session.registry.create("target", name, {**options, "performance": True})
    return device


def _need_room(path: Path, subject: Subject, device: "Target", *, bundled: bool) -> None:
    """See before a long run that the result can be made and written.

    Raises:
        FewbitsError: it cannot.
    """
    if not bundled:
        check_output(path, subject.file, archive=False)
        device.need_compiler()
        return
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path} is not empty.", hint="Give --bundle an empty or a new folder.")
    check_output(path / "file" if path.exists() else path, subject.file, archive=False)


def _compile(
    session: "Session", model: "Model", device: "Target", path: Path, samples: Any
) -> tuple["Model", dict[str, Any]]:
    from fewbits import api
    from fewbits.atomic import write_bytes

    compiled, data = api.compiled(
        model, target=device, calibration=samples, registry=session.registry
    )
    write_bytes(path, data)
    return compiled, {"path": str(path), "bytes": len(data)}


def _bundle(
    session: "Session", model: "Model", device: "Target", path: Path, samples: Any
) -> tuple["Model", dict[str, Any]]:
    from fewbits import api

    files = api.bundle(model, path, target=device, calibration=samples, registry=session.registry)
    size = sum(file.stat().st_size for file in files)
    return model, {"bundle": str(path), "files": [str(file) for file in files], "bytes": size}


def _print(
    model: "Model",
    device: "Target",
    path: Path,
    report: dict[str, Any],
    archive: Path | None,
    answer: Answer,
) -> None:
    from fewbits.cli import render
    from fewbits.cli.info import size_text

    if answer.json:
        head = {"model": model.name, "target": device.name}
        archived = {"archive": None if archive is None else str(archive)}
        render.print_json(head | report | archived)
    elif not answer.quiet:
        render.text(f"Wrote {path} ({size_text(report['bytes'])}) for {device.name}")
        for file in report.get("files", []):
            if Path(file).name.startswith("README"):
                render.text(f"{file} says what to do with it")


def _tell(session: "Session", model: "Model", device: "Target", answer: Answer) -> None:
    """Print everything that the device cannot run; leave with 1 if it stops the compilation."""
    from fewbits import api
    from fewbits.cli import render

    with session.working(f"checking for {device.name}"):
        found = api.check(model, target=device, registry=session.registry)
    fits = not any(finding.fatal for finding in found)
    if answer.json:
        rows = [vars(finding) for finding in found]
        head = {"model": model.name, "stage": model.stage.value, "target": device.name}
        render.print_json(head | {"fits": fits, "findings": rows})
    elif not answer.quiet:
        columns = ["layer", "limit", "what helps", "stops it"]
        if found:
            render.table(columns, [[f.layer, f.limit, f.remedy, f.fatal] for f in found])
        said = "can be compiled" if fits else "cannot be compiled"
        render.text(f"{model.name} ({model.stage}) {said} for {device.name}")
    if not fits:
        raise typer.Exit(1)


def default_path(session: "Session", subject: Subject, target: str) -> Path:
    """Return NAME with the target's own ending, beside the archive or in the current folder.

    Where networks have that ending, the target's name stands before it.
    """
    suffix = session.registry.load("target", target).suffix
    readers = session.registry.components("frontend")
    read = [session.registry.load("frontend", each.component.name).suffixes for each in readers]
    name = subject.name + (f".{target}" if suffix in {s for each in read for s in each} else "")
    folder = subject.file.parent if is_archive(subject.file) else Path()
    return folder / f"{name}{suffix}"


def _holds(before: "Model", compiled: "Model") -> bool:
    """Say whether the last thing done to the model was this same compilation."""
    if before.stage is not compiled.stage:
        return False
    old, new = before.history[-1], compiled.history[-1]
    return (old.use, old.version, old.report.metrics) == (new.use, new.version, new.report.metrics)
