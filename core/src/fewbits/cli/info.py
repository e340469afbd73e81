"""`fewbits info`: what a network or an archive holds."""

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewbits.cli.common import command, session_of
from fewbits.cli.flags import Answer, Given, ParseFlags
from fewbits.cli.grouped import grouped
from fewbits.cli.naming import own_names, show_names
from fewbits.cli.source import open_model
from fewbits.cli.subject import find

if TYPE_CHECKING:
    import onnx_ir as ir

    from fewbits.interfaces import ModelInfo
    from fewbits.model import Model
    from fewbits.provenance import StepRecord

#: characters of an option's value that a table shows; --json has all.
LONGEST = 120

app = command()


@app.command("info")
@grouped
def info(
    ctx: typer.Context,
    given: Given,
    flags: ParseFlags,
    answer: Answer,
    hw_arch: Annotated[
        str | None,
        typer.Option(
            "--hw-arch",
            metavar="TARGET",
            help="Name the layers as this target's own tools do, too; default: the target that an "
            "archive was made for.",
        ),
    ] = None,
) -> None:
    """Show what a network or an archive holds."""
    session = session_of(ctx)
    subject = find(session, given, flags.name)
    model = open_model(session, subject, flags)
    from fewbits.cli import render

    own = own_names(session, model, hw_arch)
    known = None if subject.named is None else subject.named.info()
    if answer.json:
        held = summary(model) | {"target": own.target, "layer_names": dict(own.names)}
        render.print_json(held if known is None else held | {"known": asdict(known)})
        return
    show(model, known)
    if own.names:
        show_names(model, own)
    elif hw_arch is not None:
        render.text(f"Target {hw_arch} has no names of its own for layers.")


def summary(model: "Model") -> dict[str, Any]:
    """Return what there is to say of a model, JSON-able."""
    from fewbits.cost import cost

    counted = cost(model)
    return {
        "name": model.name,
        "stage": str(model.stage),
        "stages": [str(m.stage) for m in (*model.ancestors, model)],
        "inputs": [_value(v) for v in model.graph.inputs if v.name in model.input_names],
        "outputs": [_value(v) for v in model.graph.outputs],
        "layers": counted.layers,
        "parameters": counted.parameters,
        "macs": counted.macs,
        "bytes": {"float32": counted.bytes_float, "quantized": counted.bytes_quantized},
        "precisions": dict(Counter(map(str, model.precisions.values()))),
        "preprocess": None if model.preprocess is None else model.preprocess.model_dump(),
        "history": [step_summary(record) for record in model.history],
    }


def known_text(known: "ModelInfo") -> dict[str, str]:
    """Return what is known of a named model, as people read it; what is not known is empty."""
    result = ""
    if known.full_precision is not None:
        result = f"{known.metric} {known.full_precision:g} {known.unit}".strip()
    return {
        "task": known.task,
        "framework": known.framework,
        "data": known.data,
        "metric": "" if result else known.metric,
        "full precision": result,
        "source": known.source,
        "licence": known.licence,
        "note": known.note,
    }


def step_summary(record: "StepRecord") -> dict[str, Any]:
    """Return a step of the history without its notes on single layers."""
    return {
        "use": record.use,
        "distribution": record.distribution,
        "version": record.version,
        "options": dict(record.options),
        "seed": record.seed,
        "target": record.target,
        "summary": record.report.summary,
        "level": dict(record.level),
        "metrics": dict(record.report.metrics),
        "output_digest": record.output_digest,
    }


def show(model: "Model", known: "ModelInfo | None" = None) -> None:
    """Print a model's summary as people read it, and what is known of it by name."""
    from fewbits.cli import render

    held = summary(model)
    render.heading(held["name"], " → ".join(held["stages"]))
    render.pairs(
        {
            "inputs": _ports(held["inputs"]),
            "outputs": _ports(held["outputs"]),
            "layers": render.cell(held["layers"]),
            "parameters": render.cell(held["parameters"]),
            "MACs": "unknown" if held["macs"] is None else render.cell(held["macs"]),
            "size": _size(held),
            "precisions": ", ".join(f"{mode} ×{n}" for mode, n in held["precisions"].items()),
            "preprocess": preprocess_text(model),
            "levels": level_text(model),
            **({} if known is None else known_text(known)),
        }
    )
    if held["history"]:
        render.table(
            ("step", "options", "result"),
            [(s["use"], options_text(s["options"]), s["summary"]) for s in held["history"]],
        )


def level_text(model: "Model") -> str:
    """Return which levels the last step stood for, and what was lowered; empty if none."""
    level = model.history[-1].level if model.history else {}
    if not level:
        return ""
    numbers = (
        f"optimization {level['optimization_level']}, compression {level['compression_level']}"
    )
    return "; lowered: ".join([numbers, *map(str, level.get("lowered", ()))])


def options_text(options: dict[str, Any]) -> str:
    """Return options as they are typed, those that say nothing left out and long ones cut.

    >>> options_text({"bits": 4, "names": [], "mode": None})
    'bits=4'
    """
    said = ((key, value) for key, value in options.items() if value not in (None, "", [], {}))
    return ", ".join(f"{key}={_cut(str(value))}" for key, value in said)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def preprocess_text(model: "Model") -> str:
    """Return what the preprocessing says beyond its defaults, or nothing."""
    if model.preprocess is None:
        return ""
    return model.preprocess.to_text() or "none needed"


def _value(value: "ir.Value") -> dict[str, Any]:
    shape = None if value.shape is None else [_dim(dim) for dim in value.shape]
    return {"name": value.name, "shape": shape, "dtype": str(value.dtype).lower()}


def _dim(dim: Any) -> int | str:
    return dim if isinstance(dim, int) else (dim.value or "?")


def _ports(values: list[dict[str, Any]]) -> str:
    return ", ".join(
        f"{v['name']} {'×'.join(map(str, v['shape'])) if v['shape'] is not None else '?'}"
        for v in values
    )


def _size(held: dict[str, Any]) -> str:
    float_size = held["bytes"]["float32"]
    if not held["precisions"]:
        return size_text(float_size)
    return f"{size_text(held['bytes']['quantized'])} (float {size_text(float_size)})"


def size_text(count: int) -> str:
    """Return a size in a unit that fits it.

    >>> size_text(512), size_text(20_480), size_text(4_700_000)
    ('512 B', '20.5 kB', '4.7 MB')
    """
    if count < 1000:
        return f"{count} B"
    if count < 1_000_000:
        return f"{count / 1e3:.3g} kB"
    return f"{count / 1e6:.3g} MB"
