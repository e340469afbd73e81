"""The step `global_avgpool_reduction`: the average over a whole map, taken in two pools."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
from fewbits.errors import RecipeError
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from fewbits.options import Options
from fewbits.provenance import LayerNote, Report
from fewbits.selection import matched
from pydantic import Field, field_validator


class AvgpoolReductionOptions(Options):
    """Options of `global_avgpool_reduction`."""

    division_factors: tuple[int, int] = Field(
        (2, 2),
        description="Into how many windows the rows and the columns are divided: what is left for"
        " the second pool.",
    )
    layers: tuple[str, ...] = Field(
        ("*",), description="Global pools to take in two, names or globs."
    )

    @field_validator("division_factors")
    @classmethod
    def _at_least_one(cls, value: tuple[int, int]) -> tuple[int, int]:
        if min(value) < 1:
            raise ValueError("they divide and must be at least 1")
        return value


@dataclass(frozen=True)
class Windows:
    """How one map is divided.

    Args:
        kernel: rows and columns of a window of the first pool; (1, 1) for nothing to do.
        fault: why it cannot be divided; empty if it can.
    """

    kernel: tuple[int, int] = (1, 1)
    fault: str = ""


class AvgpoolReduction(Algorithm):
    """Averages a map of H×W in windows of H/h × W/w first, then the h×w that are left.

    The network computes what it did: the mean of the means of equal windows is the mean. A device
    whose requantization shifts by few bits only can then divide by H·W in two steps.
    """

    name = "global_avgpool_reduction"
    stage = Stage.OPTIMIZED
    float_tolerance = 1e-5
    Options = AvgpoolReductionOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model with a pool more in front of each that was chosen.

        Raises:
            RecipeError: a name matches no global average pool, or a map that is named does not
                divide.
        """
        network = model.network.clone()
        pools = [node for node in network.graph if node.op_type == "GlobalAveragePool"]
        chosen = matched(self.options.layers, [str(node.name) for node in pools], self.name)
        notes = []
        for node in pools:
            if node.name in chosen:
                notes.append(self._divided(network.graph, node))
        done = sum(note.action == "divided" for note in notes)
        summary = f"{done} of {len(pools)} global average pools are taken in two."
        report = Report(done > 0, summary, tuple(notes), {"pools": len(pools), "divided": done})
        return Result(model.advance(self.stage, network=network if done else model.network), report)

    def _divided(self, graph: ir.Graph, node: ir.Node) -> LayerNote:
        name = str(node.name)
        found = windows(node.inputs[0], self.options.division_factors)
        if found.fault and name in self.options.layers:
            raise RecipeError(
                f"step '{self.name}': the map that '{name}' averages {found.fault}.",
                hint="Choose division_factors that divide its rows and columns.",
            )
        if found.fault or found.kernel == (1, 1):
            reason = f"its map {found.fault}" if found.fault else "its map is as small already"
            return LayerNote(name, "kept", reason)
        _put_in_front(graph, node, found.kernel)
        rows, columns = found.kernel
        return LayerNote(name, "divided", values={"windows": f"{rows}×{columns}"})


def windows(value: ir.Value | None, factors: Sequence[int]) -> Windows:
    """Return the windows of H/h × W/w that divide a map of `(N, C, H, W)`."""
    shape = [] if value is None or value.shape is None else list(value.shape)
    sizes = [size for size in shape[2:] if isinstance(size, int)]
    if len(shape) != 4 or len(sizes) != 2:
        return Windows(fault="has no rows and columns of known number")
    if any(size % factor for size, factor in zip(sizes, factors, strict=True)):
        parts = "×".join(map(str, factors))
        return Windows(fault=f"is {sizes[0]}×{sizes[1]} and does not divide by {parts}")
    return Windows((sizes[0] // factors[0], sizes[1] // factors[1]))


def _put_in_front(graph: ir.Graph, node: ir.Node, kernel: tuple[int, int]) -> None:
    source = node.inputs[0]
    assert source is not None
    assert source.shape is not None
    pool = ir.node(
        "AveragePool",
        [source],
        attributes={"kernel_shape": list(kernel), "strides": list(kernel)},
        name=f"{node.name}.windows",
    )
    output = pool.outputs[0]
    sizes = list(source.shape)
    rows, columns = int(sizes[2]) // kernel[0], int(sizes[3]) // kernel[1]  # type: ignore[arg-type]
    output.name = f"{node.name}.windows_out"
    output.shape = ir.Shape([sizes[0], sizes[1], rows, columns])
    output.type = source.type
    graph.insert_before(node, pool)
    node.replace_input_with(0, output)
