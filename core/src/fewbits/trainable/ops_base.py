"""What ops in torch are written with: their inputs, their attributes, the error for the rest."""

from collections.abc import Callable, Sequence

import onnx_ir as ir
from torch import Tensor

from fewbits.errors import ModelError
from fewbits.graph import int_attribute

Inputs = Sequence[Tensor | None]
Op = Callable[[ir.Node, Inputs], Sequence[Tensor]]

_REMEDY = (
    "Leave it to a step that needs no gradients (ibc, gptq, adaround), "
    "or cut the network off before it with --end-node-names."
)


def unknown(node: ir.Node, form: str = "") -> ModelError:
    """Return the error for an op, or a form of it, that is not written in torch here.

    Args:
        node: the node that has it.
        form: what about it is not known, as `with mode=cubic`; empty if the whole op is not.
    """
    op = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    said = f"Op {op} {form}".rstrip()
    name = node.name or f"→ {', '.join(str(v.name) for v in node.outputs)}"
    return ModelError(f"{said} of node '{name}' cannot be trained through.", hint=_REMEDY)


def given(inputs: Inputs, index: int) -> Tensor:
    """Return an input that must be there."""
    value = inputs[index]
    assert value is not None
    return value


def optional(inputs: Inputs, index: int) -> Tensor | None:
    """Return an input, or None where it is left out."""
    return inputs[index] if index < len(inputs) else None


def numbers(value: Tensor | None) -> list[int] | None:
    """Return an input that says sizes or axes as plain numbers, or None where it is left out."""
    return None if value is None else [int(n) for n in value.reshape(-1).tolist()]


def ints(node: ir.Node, name: str, default: Sequence[int]) -> list[int]:
    """Return an attribute that is a list of whole numbers."""
    attribute = node.attributes.get(name)
    return list(default if attribute is None else attribute.as_ints())


def decimal(node: ir.Node, name: str, default: float) -> float:
    """Return an attribute that is a real number."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def text(node: ir.Node, name: str, default: str) -> str:
    """Return an attribute that is a word."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def axis_of(node: ir.Node, rank: int, default: int) -> int:
    """Return the attribute `axis`, counted from the front."""
    return int_attribute(node, "axis", default) % max(rank, 1)


def refuse_further_outputs(node: ir.Node) -> None:
    """Raise ModelError if anything behind the first output is read."""
    for value in node.outputs[1:]:
        if value.name and (value.uses() or value.is_graph_output()):
            raise unknown(node, f"with its output '{value.name}'")


def torch_pads(begin: Sequence[int], end: Sequence[int]) -> list[int]:
    """Return pads as torch wants them: the last axis first, both ends of each.

    >>> torch_pads([1, 2], [3, 4])
    [2, 4, 1, 3]
    """
    return [n for pair in zip(reversed(begin), reversed(end), strict=True) for n in pair]
