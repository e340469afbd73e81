"""The Dataflow Compiler's names of a network's layers, such as `conv1`, `dw3` and `ew_add2`.

Hailo publishes no list of them. The kinds below stand in scripts of the public zoo; which ONNX op
becomes which kind, and that each kind is counted in the order of the ONNX nodes, is inferred. What
the compiler fuses into a neighbour (activations, batch norm, flattening before a `fc`) has no name.
"""

from collections.abc import Mapping
from types import MappingProxyType

import onnx_ir as ir
from fewbits.graph import int_attribute, is_layer, only_reader
from fewbits.model import Model
from fewbits.placement import unary_roots

#: ONNX op → kind, where the op alone decides. Inferred, as the module says.
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "ArgMax": "argmax",
        "AveragePool": "avgpool",
        "BatchNormalization": "batch_norm",
        "Concat": "concat",
        "ConvTranspose": "deconv",
        "DepthToSpace": "depth_to_space",
        "Expand": "tile",
        "Gather": "slice",
        "GlobalAveragePool": "avgpool",
        "GlobalMaxPool": "maxpool",
        "InstanceNormalization": "normalization",
        "LayerNormalization": "layer_normalization",
        "MaxPool": "maxpool",
        "Pad": "external_pad",
        "ReduceMax": "reduce_max",
        "ReduceMean": "reduce_mean",
        "ReduceSum": "reduce_sum",
        "Resize": "resize",
        "Slice": "slice",
        "Softmax": "softmax",
        "SpaceToDepth": "space_to_depth",
        "Split": "feature_splitter",
        "Tile": "tile",
        "Upsample": "resize",
    }
)
#: element-wise op of two computed tensors → kind.
PAIRS: Mapping[str, str] = MappingProxyType(
    {
        "Add": "ew_add",
        "Div": "ew_div",
        "Max": "ew_max",
        "Min": "ew_min",
        "Mul": "ew_mult",
        "Pow": "ew_pow",
        "Sub": "ew_sub",
        "Sum": "ew_add",
    }
)
#: activations; with PAIRS, what an element-wise function of one tensor is made of.
ACTIVATIONS = frozenset(
    {
        "Abs",
        "Clip",
        "Elu",
        "Erf",
        "Exp",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Log",
        "Mish",
        "PRelu",
        "Relu",
        "Sigmoid",
        "Softplus",
        "Sqrt",
        "Tanh",
    }
)
#: ops that move numbers; the compiler makes a `format_conversion` of what it cannot drop.
MOVES = frozenset({"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def layer_names(model: Model) -> dict[str, str]:
    """Return node name → the Dataflow Compiler's name, for each node that is a layer there.

    >>> from fewbits.testing import Net
    >>> net = Net("tiny")
    >>> x = net.op("Relu", net.conv(net.input("x", 4, 8, 8), 4, 4))
    >>> net.output(net.op("Add", net.conv(x, 4, 4, group=4), x), 4, 8, 8)
    >>> layer_names(net.build())
    {'conv_0': 'conv1', 'conv_2': 'dw1', 'add_3': 'ew_add1'}
    """
    names: dict[str, str] = {}
    counts: dict[str, int] = {}
    functions = _functions(model.graph)
    for node in model.graph:
        kind = functions[node] if node in functions else _kind(node)
        if kind:
            counts[kind] = counts.get(kind, 0) + 1
            names[str(node.name)] = f"{kind}{counts[kind]}"
    return names


def fused_nodes(model: Model) -> dict[str, tuple[str, ...]]:
    """Return layer's node name → nodes of the activation that is fused into it, in order.

    >>> from fewbits.testing import Net
    >>> net = Net("tiny")
    >>> x = net.conv(net.input("x", 4, 8, 8), 4, 4)
    >>> net.output(net.op("Mul", x, net.op("Sigmoid", x)), 4, 8, 8)
    >>> fused_nodes(net.build())
    {'conv_0': ('sigmoid_1', 'mul_2')}
    """
    found: dict[str, list[str]] = {}
    roots = unary_roots(model.graph, ACTIVATIONS | frozenset(PAIRS))
    fused = {node for node, kind in _functions(model.graph).items() if not kind}
    standing = {roots[n.outputs[0]] for n in _functions(model.graph) if n not in fused}
    for node in model.graph:
        root = roots.get(node.outputs[0])
        writer = None if root is None else root.producer()
        if node in fused and writer is not None and root not in standing:
            found.setdefault(str(writer.name), []).append(str(node.name))
    return {name: tuple(nodes) for name, nodes in found.items()}


def port_names(model: Model) -> dict[str, str]:
    """Return the compiler's name → tensor for inputs and outputs, counted in the graph's order.

    >>> from fewbits.testing import Net
    >>> net = Net("tiny")
    >>> net.output(net.op("Relu", net.input("x", 4)), 4)
    >>> port_names(net.build())
    {'input_layer1': 'x', 'output_layer1': 'relu_0_out'}
    """
    inputs = {f"input_layer{i}": name for i, name in enumerate(model.input_names, 1)}
    return inputs | {f"output_layer{i}": name for i, name in enumerate(model.output_names, 1)}


def scope(model: Model) -> str:
    """Return the scope that a script puts before its layers: the network's name, as a word.

    >>> from fewbits.testing import Net
    >>> net = Net("regnetx_1.6gf")
    >>> net.output(net.op("Relu", net.input("x", 4)), 4)
    >>> scope(net.build())
    'regnetx_1_6gf'
    """
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in model.name)


def _functions(graph: ir.Graph) -> dict[ir.Node, str]:
    """Map each node of an element-wise function of one tensor to its kind of layer.

    Only the last node of such a function stands for a layer, the others have none: `activation`,
    or nothing where the function is fused into the layer that writes the tensor, or `mul_and_add`
    where it is affine. So x · sigmoid(x) is no `ew_mult`.
    """
    roots = unary_roots(graph, ACTIVATIONS | frozenset(PAIRS))
    members: dict[ir.Value, list[ir.Node]] = {}
    for value, root in roots.items():
        node = value.producer()
        if node is not None:
            members.setdefault(root, []).append(node)
    kinds: dict[ir.Node, str] = {}
    for root, nodes in members.items():
        within = set(nodes)
        ends = [node for node in nodes if node.outputs[0].is_graph_output() or _left(node, within)]
        fused = len(ends) == 1 and root.producer() is not None and set(root.consumers()) <= within
        bent = any(node.op_type in ACTIVATIONS for node in nodes)
        last = "" if bent and fused else "activation" if bent else "mul_and_add"
        kinds |= dict.fromkeys(nodes, "") | dict.fromkeys(ends, last)
    return kinds


def _left(node: ir.Node, within: set[ir.Node]) -> bool:
    """Whether something outside reads what a node writes."""
    return any(reader not in within for reader in node.outputs[0].consumers())


def _kind(node: ir.Node) -> str:
    """Return the kind of layer that a node becomes; empty if it becomes none of its own."""
    op = node.op_type
    if op == "Conv":
        return "dw" if _is_depthwise(node) else "conv"
    if op == "Gemm":
        return "fc" if is_layer(node) else "matmul"
    if op == "MatMul":
        return _kind_of_product(node)
    if op in MOVES:
        return "" if op == "Flatten" or _before_fc(node) else "format_conversion"
    return PAIRS.get(op) or KINDS.get(op, "")


def _is_depthwise(node: ir.Node) -> bool:
    groups = int_attribute(node, "group", 1)
    weight = node.inputs[1]
    shape = None if weight is None else weight.shape
    return groups > 1 and shape is not None and shape[1] == 1


def _kind_of_product(node: ir.Node) -> str:
    """A product with constant weights is a `fc` on vectors and a 1×1 `conv` on maps."""
    if not is_layer(node):
        return "matmul"
    value = node.inputs[0]
    rank = 2 if value is None or value.shape is None else len(value.shape)
    return "fc" if rank <= 2 else "conv"


def _before_fc(node: ir.Node) -> bool:
    behind = only_reader(node.outputs[0])
    return behind is not None and behind.op_type in ("Gemm", "MatMul") and is_layer(behind)
