"""`fewbits demo`: the whole flow on the embedded network, and what it costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fewbits.cli.common import Json, NoPlugin, Quiet, Seed, command, session_of
from fewbits.cli.info import size_text

if TYPE_CHECKING:
    from fewbits_demo.flow import Outcome, Row

WORST_LAYERS = 5
FOLDER = Path("fewbits-demo")

app = command()


@app.command("demo")
def demo(
    ctx: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where the files go.")
    ] = FOLDER,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
    no_plugin: NoPlugin = None,
) -> None:
    """Take a small network that comes with fewbits through the whole flow.

    Handwritten digits, 8×8 pixels: parse, calibrate, quantize to 8 bits and to 4-bit weights,
    recover what 4 bits cost, emulate, evaluate, compile. Takes a few seconds.
    """
    session = session_of(ctx)
    from fewbits_demo import flow

    with session.progress():
        outcome = flow.run(output, registry=session.registry, seed=seed)
    if json:
        from fewbits.cli import render

        render.print_json(as_json(outcome))
    elif not quiet:
        show(outcome)


def as_json(outcome: "Outcome") -> dict[str, Any]:
    """Return the outcome as JSON knows it."""
    return {
        "model": "digits",
        "seed": outcome.seed,
        "calibration_images": outcome.calibration_images,
        "evaluation_images": outcome.evaluation_images,
        "rows": [_row_as_json(row) for row in outcome.rows],
        "missing": outcome.missing,
        "worst_layers": outcome.worst_layers(WORST_LAYERS),
    }


def _row_as_json(row: "Row") -> dict[str, Any]:
    paths = {"file": str(row.file), "archive": None if row.archive is None else str(row.archive)}
    return {**vars(row), **paths}


def show(outcome: "Outcome") -> None:
    """Print the figures, the noisiest layers, and where the files lie."""
    from fewbits.cli import render

    render.heading(
        "Handwritten digits",
        f"{outcome.evaluation_images} test images, calibrated on "
        f"{outcome.calibration_images} others",
    )
    render.table(
        ("precision", "steps", "top-1", "same as float", "SNR", "weights"),
        [_figures(row) for row in outcome.rows],
        right=("top-1", "same as float", "SNR", "weights"),
    )
    for each in outcome.missing:
        render.text(each)
    quantized = outcome.rows[1:]
    render.text()
    render.table(
        ("noisiest layers", *(row.name for row in quantized)),
        [
            (name, *(_decibels(row.layers.get(name)) for row in quantized))
            for name in outcome.worst_layers(WORST_LAYERS)
        ],
        right=[row.name for row in quantized],
    )
    render.text()
    render.table(
        ("file", "size", "what it is"),
        [line for row in outcome.rows for line in _files(row)],
        right=("size",),
    )


def _figures(row: "Row") -> tuple[str, ...]:
    return (
        row.precision,
        ", ".join(step.partition(":")[0] for step in row.steps),
        f"{row.top1:.2f} %",
        "" if row.agreement is None else f"{row.agreement:.2f} %",
        _decibels(row.snr_db),
        size_text(row.weight_bytes),
    )


def _files(row: "Row") -> list[tuple[str, str, str]]:
    held = [(row.file, f"{row.name}, for ONNX Runtime")]
    if row.archive is not None:
        held.append((row.archive, f"{row.name}, archive to go on from"))
    return [(str(path), size_text(path.stat().st_size), what) for path, what in held]


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} dB"
