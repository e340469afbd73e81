"""`fewbits list`: what is installed, and which plugins cannot be used."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewbits.cli.common import Json, NoPlugin, Session, command, session_of
from fewbits.component import KINDS
from fewbits.errors import UsageError, nearest

if TYPE_CHECKING:
    from fewbits.plugins import PluginRecord

app = command()

#: what `list` can be asked for; `plugin` is a kind of row, not of component.
LISTED = (*KINDS, "plugin")


@app.command("list")
def list_components(
    ctx: typer.Context,
    kind: Annotated[
        str | None,
        typer.Argument(help="One kind only, singular or plural: " + ", ".join(LISTED) + "."),
    ] = None,
    json: Json = False,
    no_plugin: NoPlugin = None,
) -> None:
    """List what is installed: algorithms, targets, plugins.

    Plugins that cannot be used stand in the list with their status; `fewbits doctor` says more.
    """
    wanted = None if kind is None else parse_kind(kind)
    rows = entries(session_of(ctx), wanted)
    from fewbits.cli import render

    if json:
        render.print_json(rows)
    elif rows:
        _show(rows)
    else:
        render.note(f"No {wanted} is installed.")


def parse_kind(text: str) -> str:
    """Return the kind that `text` names, in the singular.

    Raises:
        UsageError: there is no such kind.

    >>> parse_kind("algorithms"), parse_kind("Target")
    ('algorithm', 'target')
    """
    kind = text.lower().removesuffix("s")
    if kind not in LISTED:
        raise UsageError(f"'{text}' is no kind of component.", hint=nearest(kind, LISTED))
    return kind


def entries(session: Session, kind: str | None) -> list[dict[str, Any]]:
    """Return one row per component, then one per plugin that offers none, sorted by kind."""
    registry = session.registry
    rows: list[dict[str, Any]] = []
    if kind != "plugin":
        found = registry.components(kind)
        rows = [
            {"name": f.component.name, "kind": f.component.kind, "summary": f.component.summary}
            | _origin(f.record)
            for f in found
        ]
        rows.sort(key=lambda row: (LISTED.index(row["kind"]), row["name"]))
    if kind == "plugin":
        rows += [plugin_entry(record) for record in registry.records]
    elif kind is None:
        rows += [plugin_entry(r) for r in registry.records if r.status != "active"]
    return rows


def plugin_entry(record: "PluginRecord") -> dict[str, Any]:
    """Return the row of a plugin; its summary is the reason for its status."""
    return {"name": record.name, "kind": "plugin", "summary": record.reason} | _origin(record)


def _origin(record: "PluginRecord") -> dict[str, Any]:
    return {
        "plugin": record.name,
        "distribution": record.distribution,
        "version": record.version,
        "status": record.status,
    }


def _show(rows: Iterable[dict[str, Any]]) -> None:
    from fewbits.cli import render

    render.table(
        ("kind", "name", "summary", "from", "status"),
        [
            (
                row["kind"],
                row["name"],
                row["summary"].splitlines()[0] if row["summary"] else "",
                f"{row['distribution']} {row['version']}",
                row["status"],
            )
            for row in rows
        ],
    )
