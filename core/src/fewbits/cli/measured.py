"""How what was measured looks."""

from typing import TYPE_CHECKING, Any

from fewbits.cli.flags import Answer

if TYPE_CHECKING:
    from fewbits.evaluation import Evaluation
    from fewbits.model import Model


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


def show(model: "Model", target: str, measured: "Evaluation", answer: Answer) -> None:
    """Print what was measured."""
    from fewbits.cli import render

    if answer.json:
        render.print_json(result(model, target, measured))
    elif not answer.quiet:
        render.heading(model.name, f"{measured.images} images")
        columns, rows = comparison(measured, target)
        render.table(columns, rows, right=columns[1:])
        render.text(done(measured))
        render.text(speed(measured))


def comparison(measured: "Evaluation", target: str) -> tuple[list[str], list[list[Any]]]:
    """Return a table of each metric, beside the float model's where that is known."""
    known = bool(measured.reference_metrics)
    beside = "native" if target == "full_precision" else "full precision"
    columns = ["metric", *([beside] if known else []), target.replace("_", " ")]
    rows = []
    for name, metrics in measured.metrics.items():
        floats = measured.reference_metrics.get(name, {})
        units = measured.units.get(name, {})
        for metric, value in metrics.items():
            before, unit = floats.get(metric), units.get(metric.rpartition(".")[2], "")
            cells = [_figure(before, unit), _figure(value, unit), _loss(before, value, unit)]
            rows.append([f"{name} {metric}", *(cells if known else cells[1:2])])
    return [*columns, *(["degradation"] if known else [])], rows


def _figure(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.2f} {unit}" if unit else f"{value:.6g}"


def _loss(before: float | None, after: float, unit: str) -> str:
    return "" if before is None else _figure(before - after, unit)


def done(measured: "Evaluation") -> str:
    """Return the line that ends it: how many images, and what they came to.

    Measures of closeness to full precision are left to the table where there are others.
    """
    names = [name for name in measured.metrics if name in measured.reference_metrics]
    figures = (
        f"{metric}={value:.2f}"
        for name in names or measured.metrics
        for metric, value in measured.metrics[name].items()
    )
    skipped = measured.data.get("skipped")
    left = f" ({len(skipped)} bad ones left out)" if skipped else ""
    return " ".join([f"Done {measured.images} images{left}", *figures])


def speed(measured: "Evaluation") -> str:
    """Return how fast it ran, and how fast the float model beside it."""
    own, beside = measured.images_per_second, measured.reference_images_per_second
    if beside is None:
        return f"{own:.1f} images/s"
    return f"{own:.1f} images/s, {own / beside:.2f} × full precision ({beside:.1f} images/s)"
