"""What a quantizer says it did."""

from collections.abc import Mapping

from fewbits.cost import work
from fewbits.model import Model, Precision
from fewbits.placement import Placement
from fewbits.provenance import LayerNote, Report


def grid_report(
    model: Model,
    precisions: Mapping[str, Precision],
    placement: Placement,
    tensors: int,
    bound: Mapping[str, str],
) -> Report:
    """Name every layer with its mode, and every op left in float with its share of the work.

    Args:
        model: the network in float.
        precisions: layer name → mode.
        placement: which tensors are integers.
        tensors: how many have a range of their own.
        bound: layer name → the mode that was asked for, where the target binds it to others.
    """
    total = sum(work(node) for node in model.graph) or 1
    notes = [
        LayerNote(
            name,
            "quantized",
            values={"precision": str(mode)} | ({"asked": bound[name]} if name in bound else {}),
        )
        for name, mode in precisions.items()
    ]
    shares = {str(node.name): work(node) / total for node in placement.float_nodes}
    notes += [
        LayerNote(
            str(node.name),
            "float",
            f"the target has no integer {node.op_type}",
            {"share_of_work": round(shares[str(node.name)], 6)},
        )
        for node in placement.float_nodes
    ]
    float_share = sum(shares.values())
    modes = ", ".join(sorted({str(p) for p in precisions.values()}))
    drawn = f", {len(bound)} of them drawn along by others" if bound else ""
    in_float = f", {len(shares)} ops in float ({float_share:.1%} of the work)" if shares else ""
    return Report(
        changed=True,
        summary=f"{len(precisions)} layers at {modes}{in_float}{drawn}",
        layers=tuple(notes),
        metrics={
            "layers": len(precisions),
            "tensors": tensors,
            "float_ops": len(shares),
            "float_share_of_work": round(float_share, 6),
        },
    )
