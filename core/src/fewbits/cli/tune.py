"""`fewbits tune`: the smallest model that loses little enough, found by trying levels."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewbits.cli.common import BatchSize, command, session_of
from fewbits.cli.evaluate import DataCount, DataPath, make_evaluators
from fewbits.cli.flags import Answer, Given, Output, ParseFlags, Run
from fewbits.cli.grouped import grouped
from fewbits.cli.optimize import finish, prepare_checkpoint, start_of
from fewbits.cli.source import check_output, open_model, settings
from fewbits.cli.subject import find
from fewbits.cli.tuned import line, print_json, show, show_trials
from fewbits.errors import UsageError

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.interfaces import Evaluator
    from fewbits.model import Model
    from fewbits.tuner import Tuned

app = command()

#: what the trials of a search are called behind the archive's name; the best so far lies beside.
TRIALS = ".tune.json"

MaxDrop = Annotated[
    float | None,
    typer.Option(
        "--max-drop",
        metavar="POINTS",
        min=0,
        help="The most that the evaluator's headline may lose against full precision; takes "
        "labels.",
    ),
]
MinSnr = Annotated[
    float | None,
    typer.Option(
        "--min-snr",
        metavar="DB",
        help="In place of --max-drop: the least mean SNR of the outputs; takes no labels.",
    ),
]
EvaluatorName = Annotated[
    str | None,
    typer.Option(
        "--evaluator",
        metavar="NAME[:OPTIONS]",
        help="Whose headline --max-drop means. Default: classification (top1).",
    ),
]
OptimizationLevels = Annotated[
    str | None,
    typer.Option(
        "--levels",
        metavar="N,N",
        help="Optimization levels to try, from cheap to dear. Default: 0,1,2 as far as they can "
        "run.",
    ),
]
Compressions = Annotated[
    str | None,
    typer.Option(
        "--compressions",
        metavar="N,N",
        help="Compression levels to try. Default: 0,1,2,3,4,5 as far as they can run.",
    ),
]
TimeLimit = Annotated[
    float | None,
    typer.Option(
        "--time-limit",
        metavar="MINUTES",
        min=0,
        help="Begin no trial after this time; the best so far wins.",
    ),
]


@app.command("tune")
@grouped
def tune(
    ctx: typer.Context,
    given: Given,
    *,
    data_path: DataPath = None,
    max_drop: MaxDrop = None,
    min_snr: MinSnr = None,
    evaluator: EvaluatorName = None,
    levels: OptimizationLevels = None,
    compressions: Compressions = None,
    time_limit: TimeLimit = None,
    data_count: DataCount = None,
    run: Run,
    save_recipe: Annotated[
        Path | None,
        typer.Option("--save-recipe", metavar="FILE", help="Write the winner's steps as TOML."),
    ] = None,
    output: Output = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted search.")
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
    """Find the smallest model that loses little enough.

    Tries optimization and compression levels from cheap to dear: within the goal it compresses
    more, outside it optimizes more. Ends with the archive of the smallest model within the goal,
    and a table of all that was tried. The winner is chosen on --data-path: measure it on other
    samples before its figure is trusted.
    """
    session = session_of(ctx)
    subject = find(session, given, flags.name)
    path, run = subject.output(output), subject.completed(run)
    check_output(path, subject.file)
    trials = prepare_checkpoint(path, resume=resume, restart=restart, ending=TRIALS)
    opened = open_model(session, subject, flags)
    model = start_of(opened, subject, flags, restart=restart)
    search = {
        "max_drop": max_drop,
        "min_snr": min_snr,
        "evaluator": one_evaluator(session, evaluator),
        "optimization_levels": numbers(levels, "--levels"),
        "compression_levels": numbers(compressions, "--compressions"),
        "time_limit": None if time_limit is None else 60 * time_limit,
        "data_count": data_count,
        "resume": resume,
    }
    if run.calib_path is None:
        raise UsageError("A search needs samples to calibrate on.", hint="Add --calib-path.")
    search |= {"count": run.calib_count, **settings(session, model, run, batch_size)}
    data = (run.calib_path, subject.data(data_path))
    tuned = run_search(session, model, data, search, trials, quiet=answer.silent)
    if save_recipe is not None:
        tuned.recipe.save(save_recipe)
    finish(session, tuned.model, path, trials)
    discard(trials)
    if answer.json:
        print_json(tuned, path)
    elif not answer.quiet:
        show(tuned, path)


def numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    """Return the levels in a list with commas; None for no text.

    >>> numbers("-100,0, 2", "--levels")
    (-100, 0, 2)

    Raises:
        UsageError: it is no such list.
    """
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if not all(word.removeprefix("-").isdecimal() for word in words):
        raise UsageError(f"{option} '{text}' is no list of levels.", hint="Write 0,1,2.")
    return tuple(map(int, words))


def one_evaluator(session: "Session", text: str | None) -> "Evaluator | None":
    """Return the evaluator that was asked for; None for the default."""
    made = make_evaluators(session, [text] if text is not None else None)
    return made[0] if made else None


def discard(trials: Path) -> None:
    """Remove what a search leaves while it runs: its trials, the best so far, unfinished steps."""
    from fewbits.attempts import work_of

    best = _best_of(trials)
    for each in (trials, best):
        each.unlink(missing_ok=True)
    shutil.rmtree(work_of(best), ignore_errors=True)


def _best_of(trials: Path) -> Path:
    return trials.with_suffix("")


def run_search(
    session: "Session",
    model: "Model",
    data: tuple[str, str],
    search: Mapping[str, Any],
    trials: Path,
    *,
    quiet: bool,
) -> "Tuned":
    """Run the search; each trial is told on stderr, and all are shown if none fits.

    Args:
        session: the run of the command line.
        model: where to start.
        data: where the calibration samples are, and those to measure on.
        search: the other arguments of `fewbits.tune`.
        trials: where the trials are written.
        quiet: whether no table is wanted.

    Raises:
        FewbitsError: as `fewbits.tune`.
    """
    from fewbits.tuner import tune as find
    from fewbits.tuning import NothingFitsError

    if not search["resume"]:
        discard(trials)
    session.checkpoint = trials
    try:
        with session.progress():
            return find(
                model,
                *data,
                checkpoint=_best_of(trials),
                watch=None if session.quiet else lambda trial: session.note(line(trial)),
                **search,
            )
    except NothingFitsError as error:
        if not quiet:
            show_trials(error.trials, error.goal)
        raise
