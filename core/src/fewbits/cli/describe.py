"""`fewbits describe`: a component's options, or the recipe that a level stands for."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewbits.cli.common import Json, NoPlugin, Session, command, session_of
from fewbits.cli.describing import describe_level, is_level
from fewbits.cli.listing import parse_kind
from fewbits.component import KINDS
from fewbits.errors import PluginError, UsageError, nearest

if TYPE_CHECKING:
    from fewbits.plugins import Registered

app = command()

#: class attributes that say what a component needs and can do.
_TRAITS = {
    "frontend": ("suffixes",),
    "algorithm": ("stage", "needs_calibration", "float_tolerance"),
    "quantizer": ("stage", "needs_calibration"),
    "evaluator": ("headline", "units", "needs_labels", "needs_reference"),
    "target": ("suffix",),
}


@app.command("describe")
def describe(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            help="The component's name, as in `fewbits list`; `level N` for an optimization level, "
            "`level` for all of them."
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="KIND", help="Which one, where two kinds share the name."),
    ] = None,
    compression_level: Annotated[
        int | None,
        typer.Option(
            "--compression-level",
            metavar="N",
            help="With `level N`: the compression level, 0 to 5. Default: 0.",
        ),
    ] = None,
    json: Json = False,
    no_plugin: NoPlugin = None,
) -> None:
    """Show a component's options, or a level's recipe.

    Of a component: types, bounds, defaults. Of a level: the steps it stands for, as -p flags and
    as TOML, what it needs and whether that is there.
    """
    session = session_of(ctx)
    if is_level(name):
        describe_level(session, name, compression_level, json=json)
        return
    if compression_level is not None:
        raise UsageError(
            "--compression-level goes with `level N`.", hint="Try: fewbits describe level 2."
        )
    wanted = None if kind is None else parse_kind(kind)
    from fewbits.cli import render
    from fewbits.planning import DEFAULT_QUANTIZER, QUANTIZE

    if name == QUANTIZE and wanted is None:
        name, wanted = DEFAULT_QUANTIZER, "quantizer"
        if not json:
            render.text(
                f"The step '{QUANTIZE}' runs the quantizer that its option 'quantizer' names, "
                f"'{DEFAULT_QUANTIZER}' by default:"
            )
    described = [description(session, found) for found in find(session, name, wanted)]

    if json:
        render.print_json(described if len(described) > 1 else described[0])
        return
    for item in described:
        _show(item)


def find(session: Session, name: str, kind: str | None) -> list["Registered"]:
    """Return every component called `name`.

    Raises:
        PluginError: there is none; the hint names the nearest.
    """
    offered = session.registry.components(kind)
    found = [f for f in offered if f.component.name == name]
    if not found and kind is not None:
        found = [session.registry.get(kind, name)]
    if not found:
        names = {f.component.name for f in offered}
        raise PluginError(f"No component is called '{name}'.", hint=nearest(name, names))
    return sorted(found, key=lambda f: KINDS.index(f.component.kind))


def description(session: Session, found: "Registered") -> dict[str, Any]:
    """Import the component and return all that there is to say of it, JSON-able."""
    from fewbits import options

    component, record = found.component, found.record
    loaded = session.registry.load(component.kind, component.name)
    traits = {
        name: _trait(getattr(loaded, name))
        for name in _TRAITS.get(component.kind, ())
        if hasattr(loaded, name)
    }
    offered = getattr(loaded, "Options", None)
    return {
        "name": component.name,
        "kind": component.kind,
        "summary": component.summary,
        "plugin": record.name,
        "distribution": record.distribution,
        "version": record.version,
        "about": inspect.getdoc(loaded) if inspect.isclass(loaded) else "",
        "traits": traits | _target_limits(loaded),
        "options": [asdict(option) for option in options.describe(offered)] if offered else [],
    }


def _trait(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple | set | frozenset) else value


def _trait_text(value: Any) -> str:
    from fewbits.cli import render

    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else render.cell(value)


def _target_limits(loaded: Any) -> dict[str, Any]:
    spec = getattr(loaded, "spec", None)
    if spec is None:
        return {}
    return {
        "precisions": sorted(str(p) for p in spec.precisions),
        "weights": spec.weights,
        "granularities": sorted(spec.granularities),
        "float_ops": spec.float_ops,
    }


def _show(item: dict[str, Any]) -> None:
    from fewbits.cli import render

    render.heading(f"{item['kind']} {item['name']}", f"{item['distribution']} {item['version']}")
    render.text(item["about"] or item["summary"])
    for name, value in item["traits"].items():
        if shown := _trait_text(value):
            render.text(f"{name.replace('_', ' ')}: {shown}")
    if item["options"]:
        render.table(
            ("option", "type", "bounds", "default", "help"),
            [
                (o["name"], o["type"], o["bounds"], default_text(o), o["help"])
                for o in item["options"]
            ],
        )
    elif item["kind"] == "command":
        render.text(f"See `fewbits {item['name']} --help`.")
    else:
        render.text("It has no options.")


def default_text(item: dict[str, Any]) -> str:
    """Return an option's default as the terminal shows it."""
    if item["required"]:
        return "required"
    default = item["default"]
    if isinstance(default, bool):
        return "true" if default else "false"
    if default in (None, "", {}, [], ()):
        return "none"
    if isinstance(default, tuple | list):
        return f"[{', '.join(map(str, default))}]"
    return str(default)
