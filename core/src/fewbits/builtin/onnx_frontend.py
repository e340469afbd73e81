"""The built-in frontend: ONNX files of opset 7 to the newest."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
from pydantic import Field

from fewbits.builtin import onnx_batch, onnx_checks, onnx_cut, onnx_shapes, onnx_simplify
from fewbits.builtin.onnx_opset import OLDEST, convert_opset
from fewbits.builtin.onnx_read import read_network
from fewbits.interfaces import Frontend
from fewbits.model import Model
from fewbits.options import Options


class OnnxOptions(Options):
    """What part of the file to take, and how large its inputs are."""

    start_node_names: tuple[str, ...] = Field(
        (), description="Nodes (or tensors) whose inputs become the inputs of the network."
    )
    end_node_names: tuple[str, ...] = Field(
        (), description="Nodes (or tensors) that become the outputs, in this order."
    )
    input_shape: dict[str, tuple[int, ...]] | tuple[int, ...] | None = Field(
        None,
        description="Shape of inputs that the file leaves open, by name (for one input, just "
        "the shape), with or without the batch.",
    )


class OnnxFrontend(Frontend):
    """Reads an ONNX file and brings it into the form that the rest of fewbits works on."""

    name = "onnx"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    Options = OnnxOptions

    def parse(self, path: Path) -> Model:
        """Read `path`; the result computes the same as the file, at one opset, simplified.

        Raises:
            ModelError: the file is damaged or holds what cannot be handled; names the place
                and the remedy.
        """
        path = Path(path)
        network = read_network(path)
        onnx_simplify.prepare(network)
        onnx_checks.check_opset(network, OLDEST)
        shapes = self._cut(network)
        _check(network)
        onnx_shapes.set_input_shapes(network, shapes)
        onnx_shapes.check_shapes(network)
        onnx_shapes.infer_shapes(network)
        onnx_checks.check_sizes(onnx_shapes.inferred_at(network, 1))
        return Model(name=path.stem, network=_finished(_transformed(network)))

    def _cut(self, network: ir.Model) -> onnx_shapes.Asked:
        """Cut the graph, and return the input shapes that are still to be set."""
        options: OnnxOptions = self.options
        shapes: onnx_shapes.Asked = options.input_shape
        onnx_cut.cut_end(network, options.end_node_names)
        if options.start_node_names:
            shapes = onnx_shapes.set_known_shapes(network, shapes)
            onnx_shapes.infer_shapes(network)
            onnx_cut.cut_start(network, options.start_node_names)
        onnx_cut.prune(network)
        if options.end_node_names:
            onnx_cut.drop_idle_inputs(network)
        return shapes


def _check(network: ir.Model) -> None:
    onnx_checks.check_interface(network)
    onnx_checks.check_nodes(network)
    onnx_checks.check_sources(network)
    onnx_checks.check_weights(network)
    onnx_shapes.check_graph(network)


def _transformed(network: ir.Model) -> ir.Model:
    """Return the network at one opset, simplified, with a free batch where that is possible.

    Shape computations are settled twice: the upgrade needs known shapes, and writes new ones.
    """
    network = convert_opset(onnx_batch.settle(network))
    onnx_simplify.name_nodes(network)
    onnx_shapes.infer_shapes(network)
    onnx_simplify.simplify(onnx_batch.settle(network))
    network = onnx_batch.free_batch(network)
    onnx_batch.name_dimensions(network)
    return network


def _finished(network: ir.Model) -> ir.Model:
    """Name everything, forget the exporter's notes, hold weights as read-only arrays."""
    batch = network.metadata_props[onnx_batch.NOTE]
    common.ClearMetadataAndDocStringPass()(network)
    network.metadata_props[onnx_batch.NOTE] = batch
    onnx_simplify.name_nodes(network)
    for name, value in network.graph.initializers.items():
        if value.const_value is not None and value.dtype is not ir.DataType.STRING:
            array = np.require(value.const_value.numpy(), requirements="C")
            array.flags.writeable = False
            value.const_value = ir.Tensor(array, dtype=value.const_value.dtype, name=name)
    return network
