"""What tiling costs each block, measured over the calibration data in one pass."""

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir
from fewbits.graph import add_constant
from fewbits.interfaces import Context
from fewbits.metrics import SNR_LIMIT_DB
from fewbits.model import Model
from fewbits.runtime import Session

from fewbits_tse.blocks import Block, find_blocks
from fewbits_tse.rewire import add_tiled_branch


def tiling_snr(
    model: Model, names: Iterable[str], tile_height: int, context: Context
) -> dict[str, float]:
    """Return, for each block named, how near its tiled output is to its own, in dB.

    Each block gets the float model's own input: `10 · log10(Σ y² / Σ (y − ŷ)²)` over all samples,
    `y` what the block writes and `ŷ` what it would write if it, and it alone, were tiled. The
    sums are taken in the graph, so that no whole map leaves the runtime.

    Raises:
        DataError: there is no calibration data.
    """
    data = context.need_calibration("TSE")
    wanted, network = set(names), model.network.clone()
    blocks = [block for block in find_blocks(network.graph) if block.name in wanted]
    taps = {block.name: _watch(network.graph, block, tile_height) for block in blocks}
    if not taps:
        return {}
    session = Session(
        network, threads=context.threads, outputs=[name for tap in taps.values() for name in tap]
    )
    sums = {name: np.zeros(2) for name in taps}
    batches = data.batches(context.batch_size)
    for batch in context.track(batches, "tse", len(data), "images"):
        seen = session.run(batch.inputs)
        for name, tap in taps.items():
            sums[name] += [seen[output].sum(dtype=np.float64) for output in tap]
    return _decibels(sums)


def _watch(graph: ir.Graph, block: Block, tile_height: int) -> tuple[str, str]:
    """Add the signal and the noise of a block as outputs, `(N,)` each."""
    gate = add_tiled_branch(graph, block, tile_height).gate
    output = block.mul.outputs[0]
    tiled = _append(graph, "Mul", [block.source, gate], f"{block.name}.tse")
    difference = _append(graph, "Sub", [output, tiled], f"{block.name}.difference")
    axes = add_constant(graph, f"{block.name}.axes", np.array([1, 2, 3]))
    sums = []
    for label, value in (("signal", output), ("noise", difference)):
        node = _append(graph, "ReduceSumSquare", [value, axes], f"{block.name}.{label}", keepdims=0)
        graph.outputs.append(node)
        sums.append(str(node.name))
    return sums[0], sums[1]


def _append(
    graph: ir.Graph, op: str, inputs: list[ir.Value], name: str, **attributes: int
) -> ir.Value:
    node = ir.node(op, inputs, attributes=attributes, name=name)
    graph.append(node)
    node.outputs[0].name = f"fewbits.{name}"
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return node.outputs[0]


def _decibels(sums: Mapping[str, np.ndarray[tuple[int], np.dtype[np.float64]]]) -> dict[str, float]:
    found = {}
    for name, (signal, noise) in sums.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = 10.0 * np.log10(signal / noise) if noise else SNR_LIMIT_DB
        found[name] = round(float(np.clip(ratio, -SNR_LIMIT_DB, SNR_LIMIT_DB)), 3)
    return found
