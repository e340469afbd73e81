"""A device's own names of a network's layers, for `fewbits info`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fewbits.errors import PluginError

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.model import Model


@dataclass(frozen=True)
class OwnNames:
    """What a target's own tools call the layers.

    Args:
        target: the target's name; empty if none is concerned.
        names: node name → name there.
    """

    target: str = ""
    names: Mapping[str, str] = field(default_factory=dict)


def own_names(session: "Session", model: "Model", asked: str | None) -> OwnNames:
    """Return the names of the target that was asked for, or that the model was made for.

    Args:
        session: the run of the command line.
        model: the network.
        asked: the target's name; None for the one in the history.

    Raises:
        PluginError: there is no such target.
    """
    made_for = next((r.target for r in reversed(model.history) if r.target), "")
    target = asked or made_for
    if not target:
        return OwnNames()
    try:
        found = session.registry.create("target", target, {})
    except PluginError as error:
        if asked is not None:
            raise
        session.warn(f"its target's own names of layers are not shown: {error.message}")
        return OwnNames()
    return OwnNames(target, found.layer_names(model))


def show_names(model: "Model", own: OwnNames) -> None:
    """Print both names of each layer, what it is, and its precision mode."""
    from fewbits.cli import render

    ops = {str(node.name): node.op_type for node in model.graph}
    modes = {name: str(mode) for name, mode in model.precisions.items()}
    render.table(
        ("layer", "op", f"on {own.target}", "mode"),
        [(node, ops[node], name, modes.get(node)) for node, name in own.names.items()],
    )
