"""`fewbits eval`: how good a model is on data, and what quantization cost it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewbits.cli.common import BatchSize, command, session_of
from fewbits.cli.flags import Answer, Levels, ParseFlags, Run, Source
from fewbits.cli.grouped import grouped
from fewbits.cli.source import check_output, ensure_quantized, open_model, update_archive
from fewbits.errors import UsageError, nearest

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.evaluation import Evaluation
    from fewbits.interfaces import Evaluator
    from fewbits.model import Model

app = command()


#: what `fewbits.api.evaluate` can run; that module is too heavy to import for a help text.
RUNS_ON = ("native", "full_precision", "emulator")

DataPath = Annotated[
    str,
    typer.Option(
        "--data-path",
        metavar="PATH",
        help="Samples to measure on: a folder of pictures, an npy or npz file, FILE.npz#key.",
    ),
]
RunsOn = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="|".join(RUNS_ON),
        help="native: the network as parsed; full_precision: after the full-precision steps; "
        "emulator: quantized, with the device's numerics.",
    ),
]
DataCount = Annotated[
    int | None, typer.Option("--data-count", metavar="N", min=1, help="Take the first N only.")
]
Evaluators = Annotated[
    list[str] | None,
    typer.Option(
        "--evaluator",
        metavar="NAME[:OPTIONS]",
        help="What to measure; may be repeated. Default: fidelity, and classification if "
        "there are labels.",
    ),
]
Copy = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="Write the archive that was measured here; default: the one read, if it was one.",
    ),
]


@app.command("eval")
@grouped
def evaluate(
    ctx: typer.Context,
    file: Source,
    *,
    data_path: DataPath,
    target: RunsOn = "emulator",
    data_count: DataCount = None,
    evaluator: Evaluators = None,
    run: Run,
    levels: Levels,
    output: Copy = None,
    batch_size: BatchSize = 32,
    flags: ParseFlags,
    answer: Answer,
) -> None:
    """Measure a model on data, float or emulated.

    For the emulator a model that is not quantized yet is quantized first; that takes
    --calib-path. An archive gets the new stages; a network's own file has none, give -o.
    """
    session = session_of(ctx)
    if target not in RUNS_ON:
        raise UsageError(f"Models do not run on '{target}'.", hint=nearest(target, RUNS_ON))
    if output is not None:
        check_output(output, file)
    model = opened = open_model(session, file, flags)
    if target == "emulator":
        model = ensure_quantized(session, opened, levels, run)
    from fewbits import api

    if output is not None:
        api.save(model, output)
    elif model is not opened:
        update_archive(session, file, model)
    with session.progress():
        measured = api.evaluate(
            model,
            data_path,
            target=target,
            evaluators=make_evaluators(session, evaluator),
            count=data_count,
            threads=run.threads,
            batch_size=batch_size,
            registry=session.registry,
        )
    _print(model, target, measured, answer)


def make_evaluators(session: "Session", texts: Sequence[str] | None) -> "list[Evaluator] | None":
    """Return the evaluators that were asked for with their options; None for the default.

    Raises:
        FewbitsError: one is unknown, or its options do not fit.
    """
    from fewbits.recipe import parse_step

    if not texts:
        return None
    asked = [parse_step(text) for text in texts]
    return [session.registry.create("evaluator", each.use, each.options) for each in asked]


def result(model: "Model", target: str, measured: "Evaluation") -> dict[str, Any]:
    """Return what was measured, JSON-able."""
    return {
        "model": model.name,
        "target": target,
        "images": measured.images,
        "images_per_second": measured.images_per_second,
        "metrics": measured.metrics,
        "full_precision": measured.reference_metrics,
        "full_precision_images_per_second": measured.reference_images_per_second,
        "units": measured.units,
        "data": measured.data,
    }


def _print(model: "Model", target: str, measured: "Evaluation", answer: Answer) -> None:
    from fewbits.cli import render

    if answer.json:
        render.print_json(result(model, target, measured))
    elif not answer.quiet:
        render.heading(model.name, f"{measured.images} images")
        columns, rows = comparison(measured, target)
        render.table(columns, rows, right=columns[1:])
        render.text(speed(measured))


def comparison(measured: "Evaluation", target: str) -> tuple[list[str], list[list[Any]]]:
    """Return a table of each metric, beside the float model's where that is known."""
    known = bool(measured.reference_metrics)
    columns = ["metric", *(["full precision"] if known else []), target.replace("_", " ")]
    rows = []
    for name, metrics in measured.metrics.items():
        floats = measured.reference_metrics.get(name, {})
        units = measured.units.get(name, {})
        for metric, value in metrics.items():
            before, unit = floats.get(metric), units.get(metric.rpartition(".")[2], "")
            beside = [_figure(before, unit), _figure(value, unit), _loss(before, value, unit)]
            rows.append([f"{name} {metric}", *(beside if known else beside[1:2])])
    return [*columns, *(["degradation"] if known else [])], rows


def _figure(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.2f} {unit}" if unit else f"{value:.6g}"


def _loss(before: float | None, after: float, unit: str) -> str:
    return "" if before is None else _figure(before - after, unit)


def speed(measured: "Evaluation") -> str:
    """Return how fast it ran, and how fast the float model beside it."""
    own, beside = measured.images_per_second, measured.reference_images_per_second
    if beside is None:
        return f"{own:.1f} images/s"
    return f"{own:.1f} images/s, {own / beside:.2f} × full precision ({beside:.1f} images/s)"
