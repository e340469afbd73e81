"""`fewbits optimize`: a recipe's steps run on a network, up to the quantized stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewbits.cli.common import BatchSize, command, session_of
from fewbits.cli.flags import Answer, Given, Output, ParseFlags, Run
from fewbits.cli.grouped import grouped
from fewbits.cli.leveling import announce, prepare
from fewbits.cli.source import check_output, open_model, settings
from fewbits.cli.stepflags import StepFlags, one_source
from fewbits.cli.subject import Subject, find
from fewbits.errors import UsageError

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.model import Model
    from fewbits.preparing import Prepared
    from fewbits.provenance import StepRecord

app = command()


@app.command("optimize")
@grouped
def optimize(
    ctx: typer.Context,
    given: Given,
    *,
    run: Run,
    steps: StepFlags,
    save_recipe: Annotated[
        Path | None,
        typer.Option("--save-recipe", metavar="FILE", help="Write the steps to a TOML file."),
    ] = None,
    output: Output = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint of an interrupted run.")
    ] = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Begin from the parsed network again: drop later stages and any checkpoint.",
        ),
    ] = False,
    batch_size: BatchSize = 4,
    flags: ParseFlags,
    answer: Answer,
) -> None:
    """Run a recipe: calibrate, improve, quantize.

    Without steps the levels say what runs. `fewbits describe level 2` prints a level's recipe.

    After an interruption the same command with --resume goes on from the last finished step.
    """
    session = session_of(ctx)
    one_source(steps)
    subject = find(session, given, flags.name)
    path = subject.output(output)
    check_output(path, subject.file)
    checkpoint = prepare_checkpoint(path, resume=resume, restart=restart)
    opened = open_model(session, subject, flags)
    model = start_of(opened, subject, flags, restart=restart)
    run = subject.completed(run)
    prepared = prepare(session, model, subject, steps, run)
    if not answer.silent:
        announce(prepared)
    if save_recipe is not None:
        prepared.recipe.save(save_recipe)
    how = settings(session, model, run, batch_size)
    result = run_steps(session, model, prepared, how, checkpoint, resume=resume)
    finish(session, result, path, checkpoint)
    done = result.history[len(model.history) :]
    if answer.json:
        _print_json(result, path)
    elif not answer.quiet:
        _show(done, path)


def prepare_checkpoint(
    path: Path, *, resume: bool, restart: bool, ending: str = ".checkpoint"
) -> Path:
    """Return the checkpoint's path beside the output, dealing with one that stands there.

    Raises:
        UsageError: an interrupted run left a checkpoint and nobody said what to do with it, or
            it should be resumed and there is none.
    """
    checkpoint = path.with_name(path.name + ending)
    if resume and restart:
        raise UsageError("--resume and --restart exclude each other.", hint="Give one of them.")
    if resume and not checkpoint.exists():
        raise UsageError(
            f"There is nothing to resume: no checkpoint {checkpoint}.",
            hint="Run the command without --resume.",
        )
    if checkpoint.exists() and not resume and not restart:
        raise UsageError(
            f"An interrupted run left its checkpoint {checkpoint}.",
            hint="Add --resume to go on from there, or --restart to begin anew.",
        )
    return checkpoint


def start_of(model: "Model", subject: Subject, flags: ParseFlags, *, restart: bool) -> "Model":
    """Return the stage that the recipe starts from.

    Raises:
        UsageError: other preprocessing is asked for than the later stages were made with.
    """
    from fewbits import api
    from fewbits.model import Stage

    if restart:
        return model.at(Stage.PARSED)
    if flags.preprocess is not None and model.stage is not Stage.PARSED:
        held = api.load(subject.file).preprocess
        if held != model.preprocess:
            said = "none" if held is None else f"'{held.to_text()}'"
            raise UsageError(
                f"{subject.file} is {model.stage}, made with the preprocessing {said}.",
                hint="Leave --preprocess out, or add --restart to begin from the parsed network.",
            )
    return model


def run_steps(
    session: "Session",
    model: "Model",
    prepared: "Prepared",
    how: Mapping[str, Any],
    checkpoint: Path,
    *,
    resume: bool,
) -> "Model":
    """Run the recipe as `settings` say, writing a checkpoint after each step.

    Raises:
        FewbitsError: before anything ran, if the recipe cannot run; later, what a step raises.
    """
    from fewbits import api, runner

    if not resume:
        runner.discard(checkpoint)
    session.checkpoint = checkpoint
    with session.progress():
        return api.optimize(
            model,
            calibration=prepared.samples,
            recipe=prepared.recipe,
            checkpoint=checkpoint,
            resume=resume,
            **how,
        )


def finish(session: "Session", model: "Model", path: Path, checkpoint: Path) -> None:
    """Write the archive; only then is the checkpoint needed no more."""
    from fewbits import api, runner

    with session.working(f"writing {path}"):
        api.save(model, path)
    runner.discard(checkpoint)
    session.checkpoint = None


def _print_json(model: "Model", path: Path) -> None:
    from dataclasses import asdict

    from fewbits.cli import render

    render.print_json(
        {
            "model": model.name,
            "stage": str(model.stage),
            "archive": str(path),
            "level": dict(model.history[-1].level) or None,
            "history": [asdict(record) for record in model.history],
        }
    )


def _show(done: Sequence["StepRecord"], path: Path) -> None:
    from fewbits.cli import render

    render.table(
        ("step", "seconds", "result"),
        [(s.use, f"{s.seconds:.1f}", _result(s.report.summary, s.report.metrics)) for s in done],
        right=("seconds",),
    )
    render.text(f"Wrote {path}")


def _result(summary: str, metrics: Mapping[str, Any]) -> str:
    """Return a step's summary, or its figures where it has none."""
    from fewbits.cli import render

    figures = (
        f"{key} {render.cell(value)}"
        for key, value in metrics.items()
        if isinstance(value, int | float)
    )
    return summary or ", ".join(figures)
