"""Simplify a graph without changing what it computes; libraries first."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common
import onnxscript.optimizer as optimizer
from onnxscript.rewriter import RewritePass
from onnxscript.rewriter.rules import common as rules

from fewbits.builtin.onnx_affine import constant
from fewbits.builtin.onnx_fold import fold_batchnorm
from fewbits.builtin.onnx_shapes import infer_shapes
from fewbits.errors import ModelError

_FOLD_LIMIT = 1 << 28  # numbers; every constant that fits in memory a few times over

_RULES = (
    rules.no_op_cast_rule,
    rules.no_op_expand_rule,
    rules.no_op_transpose_rule,
    rules.cast_cast_rule,
    rules.transpose_transpose_rule,
    rules.reshape_reshape_rule,
    rules.unsqueeze_unsqueeze_rule,
    rules.squeeze_reshape_1d_rule,
    rules.collapse_slice_rule,
    rules.collapse_slice2_rule,
    rules.normalize_pad_format_conv_rule,
    rules.fuse_pad_into_conv_rule,
    rules.successive_clip_rule,
    rules.successive_clip_relu_rule,
    rules.successive_relu_clip_rule,
    rules.successive_relu_rule,
    rules.max_max_rule,
    rules.max_min_rule,
    rules.min_max_rule,
    rules.min_min_rule,
)


def prepare(network: ir.Model) -> None:
    """Inline functions, make constants initializers and give every node and tensor a name."""
    common.RemoveInitializersFromInputsPass()(network)
    network.ir_version = max(network.ir_version, 4)  # before, initializers had to be inputs
    _inline(network)
    common.TopologicalSortPass()(network)
    _use_plain_domain(network)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(network)
    name_nodes(network)


def _inline(network: ir.Model) -> None:
    try:
        common.InlinePass()(network)
    except Exception as error:  # onnx_ir wraps what went wrong in a PassError
        raise ModelError(
            f"The network's functions cannot be inlined: {error.__cause__ or error}",
            hint="Export the network without local functions.",
        ) from error


def _use_plain_domain(network: ir.Model) -> None:
    """Write the standard domain in one way; `ai.onnx` is its other name."""
    for node in network.graph:
        if node.domain == "ai.onnx":
            node.domain = ""
    version = network.opset_imports.pop("ai.onnx", None)
    if version is not None:
        network.opset_imports.setdefault("", version)


def name_nodes(network: ir.Model) -> None:
    """Give each node without a name, or with one taken, `<op>_<first output>`; in place."""
    common.NameFixPass(_Names())(network)


class _Names:
    """Names that a reader of the file recognizes."""

    def generate_node_name(self, node: ir.Node) -> str:
        return node.name or f"{node.op_type}_{node.outputs[0].name or ''}"

    def generate_value_name(self, value: ir.Value) -> str:
        producer = value.producer()
        return value.name or (f"{producer.op_type}_out" if producer is not None else "value")


def simplify(network: ir.Model) -> None:
    """Drop what does nothing, fold normalization into layers; in place."""
    names = {_first_output(node): node.name for node in network.graph if node.name}
    _drop_identities(network)
    RewritePass(_RULES)(network)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(network)
    common.RemoveUnusedNodesPass()(network)
    _restore_names(network, names)
    infer_shapes(network)
    _matmul_to_gemm(network)
    fold_batchnorm(network)
    common.RemoveUnusedNodesPass()(network)
    infer_shapes(network)


def _first_output(node: ir.Node) -> str | None:
    return node.outputs[0].name


def _restore_names(network: ir.Model, names: Mapping[str | None, str]) -> None:
    """Call a node that a rule has written anew what the node of the same output was called."""
    for node in network.graph:
        if not node.name:
            node.name = names.get(_first_output(node))
    name_nodes(network)


def fold_constants(network: ir.Model) -> None:
    """Compute what depends on constants and known shapes alone; in place."""
    optimizer.fold_constants(
        network,
        onnx_shape_inference=True,
        input_size_limit=_FOLD_LIMIT,
        output_size_limit=_FOLD_LIMIT,
    )
    common.RemoveUnusedNodesPass()(network)


def _drop_identities(network: ir.Model) -> None:
    """Remove Identity, and Dropout at inference, wherever no input or output would be lost.

    onnx_ir's own pass merges outputs that are identities of one tensor; ours keeps them.
    """
    for node in list(network.graph):
        dropout = node.op_type == "Dropout" and _is_inference(node)
        if node.domain or not (dropout or node.op_type == "Identity") or node.inputs[0] is None:
            continue
        node.resize_inputs(1)
        node.resize_outputs(1)
        node.op_type = "Identity"
        node.attributes.clear()
        _bypass(network.graph, node, node.inputs[0], node.outputs[0])


def _bypass(graph: ir.Graph, node: ir.Node, source: ir.Value, result: ir.Value) -> None:
    if result.is_graph_output():
        if source.is_graph_output() or source.is_graph_input() or source.is_initializer():
            return
        name = result.name
        result.replace_all_uses_with(source, replace_graph_outputs=True)
        result.name, source.name = f"{name}_bypassed", name
    else:
        result.replace_all_uses_with(source)
    graph.remove(node, safe=True)


def _is_inference(node: ir.Node) -> bool:
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return False
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    training = node.inputs[2].const_value
    return training is not None and not np.any(training.numpy())


def _matmul_to_gemm(network: ir.Model) -> None:
    """Write `x·W` with x of rank 2 and a constant W as Gemm, which takes a bias."""
    for node in network.graph:
        if node.op_type != "MatMul" or node.domain:
            continue
        left, weight = node.inputs[0], constant(node.inputs[1])
        flat = left is not None and left.shape is not None and len(left.shape) == 2
        if flat and weight is not None and weight.ndim == 2:
            node.op_type = "Gemm"
