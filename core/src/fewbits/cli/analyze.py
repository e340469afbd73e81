"""`fewbits analyze`: where a quantized model loses accuracy, and what helps."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fewbits.cli.common import BatchSize, command, session_of
from fewbits.cli.flags import Answer, Given, ParseFlags, Run
from fewbits.cli.grouped import grouped
from fewbits.cli.source import check_output, ensure_quantized, open_model, update_archive
from fewbits.cli.stepflags import StepFlags
from fewbits.cli.subject import find
from fewbits.errors import UsageError, nearest

if TYPE_CHECKING:
    from fewbits.analysis import Limits

app = command()

#: what `fewbits.analysis` knows; that package is too heavy to import for a help text.
MODES = ("simple", "advanced")

DataPath = Annotated[
    str | None,
    typer.Option(
        "--data-path",
        metavar="PATH",
        help="Samples to measure on: a folder of pictures, an npy or npz file, FILE.npz#key. "
        "Default: those of --calib-path, or of the named model.",
    ),
]
DataCount = Annotated[
    int | None,
    typer.Option(
        "--data-count",
        metavar="N",
        min=1,
        help="Take the first N; default: at most 64, or 16 in mode advanced.",
    ),
]
Mode = Annotated[
    str,
    typer.Option(
        "--mode",
        "--analyze-mode",
        metavar="|".join(MODES),
        help="simple: everything quantized, measured at each layer; advanced: one layer quantized "
        "at a time, measured at the outputs.",
    ),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layers", metavar="GLOB", help="Show, or try, these layers only; may be repeated."
    ),
]
LimitTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=NUMBER",
        help="From where on something is said, such as snr=12; may be repeated.",
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="PATH", help="Draw the SNR of each layer into this SVG file."),
]


@app.command("analyze")
@grouped
def analyze(
    ctx: typer.Context,
    given: Given,
    *,
    data_path: DataPath = None,
    data_count: DataCount = None,
    mode: Mode = "simple",
    layers: Layers = None,
    limit: LimitTexts = None,
    plot: Plot = None,
    run: Run,
    steps: StepFlags,
    batch_size: BatchSize = 2,
    flags: ParseFlags,
    answer: Answer,
) -> None:
    """Find where a quantized model loses accuracy, and why.

    Each layer's signal-to-noise ratio against the float model, how its weights and activations
    fit their integers, and what is the matter, with the remedy. A model that is not quantized yet
    is quantized first; that takes --calib-path. An archive gets the new stages.
    """
    session = session_of(ctx)
    if mode not in MODES:
        raise UsageError(f"There is no mode '{mode}'.", hint=nearest(mode, MODES))
    subject = find(session, given, flags.name)
    samples = subject.data(data_path or run.calib_path)
    if plot is not None:
        check_output(plot, subject.file, archive=False)
    limits = read_limits(limit)
    opened = open_model(session, subject, flags)
    model = ensure_quantized(session, opened, subject, steps, subject.completed(run))
    if model is not opened:
        update_archive(session, subject, model)
    from fewbits.analyzing import analyze as measure
    from fewbits.cli.analyzed import show
    from fewbits.cli.chart import write

    with session.progress():
        found = measure(
            model,
            samples,
            mode=mode,
            layers=layers or (),
            limits=limits,
            count=data_count,
            threads=run.threads,
            batch_size=batch_size,
            registry=session.registry,
        )
    if plot is not None:
        write(found, plot)
    show(found, answer)


def read_limits(texts: Sequence[str] | None) -> "Limits":
    """Return the limits with those that were given changed.

    Raises:
        UsageError: a text is not of the form NAME=NUMBER.
        RecipeError: there is no such limit, or the number does not fit; names the nearest.
    """
    from fewbits.analysis import Limits
    from fewbits.options import build

    values = {}
    for text in texts or ():
        name, found, number = text.partition("=")
        try:
            values[name.strip()] = float(number)
        except ValueError as error:
            hint = "Write --limit snr=12." if found else f"Write --limit {text}=NUMBER."
            raise UsageError(f"--limit '{text}' is no limit.", hint=hint) from error
    return build(Limits, values, owner="--limit")
