"""A few lines that write a small network by hand: nodes in order, seeded weights, one call to end.

Weights are drawn so that the activations keep about unit variance: `var(w) = gain / fan_in`, with
`gain = 2` because about half of a layer's input has been cut off by a ReLU.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fewbits.model import Model

OPSET = 21
IR_VERSION = 10

Dimension = int | str


class Net:
    """Collects nodes and weights, then gives the Model that a frontend would have parsed.

    Args:
        name: the model's name.
        seed: of the weights.

    >>> net = Net("tiny")
    >>> x = net.input("x", 3, 4, 4)
    >>> net.output(net.op("Relu", net.conv(x, 3, 2)), 2, 4, 4)
    >>> [node.op_type for node in net.build().graph]
    ['Conv', 'Relu']
    """

    def __init__(self, name: str, seed: int = 0) -> None:
        self._name = name
        self._rng = np.random.default_rng([seed, *name.encode()])
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, NDArray[Any]] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, *shape: Dimension) -> str:
        """Add a float32 input of shape `(N, *shape)` and return its name."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ("N", *shape)))
        return name

    def output(self, value: str, *shape: Dimension) -> None:
        """Make `value` a float32 output of shape `(N, *shape)`."""
        self._outputs.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, ("N", *shape)))

    def constant(self, array: NDArray[Any] | Sequence[float], name: str = "") -> str:
        """Add an initializer (float32 unless it is an array of another type); return its name."""
        held = array if isinstance(array, np.ndarray) else np.asarray(array, np.float32)
        name = name or f"constant_{len(self._weights)}"
        self._weights[name] = held
        return name

    def normal(self, shape: tuple[int, ...], fan_in: int, gain: float = 2.0, name: str = "") -> str:
        """Add a weight drawn from a normal distribution of variance `gain / fan_in`."""
        drawn = self._rng.normal(0.0, np.sqrt(gain / fan_in), shape)
        return self.constant(drawn.astype(np.float32), name)

    def op(self, op_type: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node of one output and return the output's name (the node's with `_out`)."""
        name = name or f"{op_type.lower()}_{len(self._nodes)}"
        output = f"{name}_out"
        self._nodes.append(
            helper.make_node(op_type, list(inputs), [output], name=name, **attributes)
        )
        return output

    def split(self, value: str, parts: int, axis: int = 1) -> list[str]:
        """Add a Split into equal parts along `axis` and return their names."""
        name = f"split_{len(self._nodes)}"
        outputs = [f"{name}_out{part}" for part in range(parts)]
        self._nodes.append(
            helper.make_node("Split", [value], outputs, name=name, axis=axis, num_outputs=parts)
        )
        return outputs

    def conv(
        self,
        x: str,
        channels_in: int,
        channels_out: int,
        kernel: int | tuple[int, ...] = 3,
        *,
        group: int = 1,
        bias: bool = True,
        weight: str = "",
        **attributes: Any,
    ) -> str:
        """Add a Conv (`same` zero padding unless `pads` says otherwise); return its output.

        Args:
            x: the input's name, of shape `(N, channels_in, *spatial)`.
            channels_in: input channels.
            channels_out: output channels.
            kernel: one size for two dimensions, or the sizes.
            group: number of groups.
            bias: whether it has one.
            weight: name of an existing weight to share; a new one is drawn when empty.
            attributes: further ONNX attributes (`strides`, `pads`, `dilations`).
        """
        sizes = (kernel, kernel) if isinstance(kernel, int) else kernel
        name = f"conv_{len(self._nodes)}"
        fan_in = channels_in // group * int(np.prod(sizes))
        shape = (channels_out, channels_in // group, *sizes)
        held = weight or self.normal(shape, fan_in, name=f"{name}_weight")
        inputs = [x, held, *([self.bias(channels_out, f"{name}_bias")] if bias else [])]
        pads = attributes.pop("pads", [size // 2 for size in sizes] * 2)
        return self.op("Conv", *inputs, name=name, group=group, pads=pads, **attributes)

    def gemm(self, x: str, features_in: int, features_out: int) -> str:
        """Add a Gemm with a weight `(features_out, features_in)` and a bias; return its output."""
        name = f"gemm_{len(self._nodes)}"
        weight = self.normal((features_out, features_in), features_in, name=f"{name}_weight")
        bias = self.bias(features_out, f"{name}_bias")
        return self.op("Gemm", x, weight, bias, name=name, transB=1)

    def bias(self, channels: int, name: str) -> str:
        """Add a bias drawn from a normal distribution of standard deviation 0.1."""
        return self.constant(self._rng.normal(0.0, 0.1, channels).astype(np.float32), name)

    def build(self) -> Model:
        """Return the network at stage `parsed`, shapes inferred, weights read-only."""
        graph = helper.make_graph(
            self._nodes,
            self._name,
            self._inputs,
            self._outputs,
            [onnx.numpy_helper.from_array(a, n) for n, a in self._weights.items()],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        proto = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(proto, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
        network = ir.from_proto(inferred)
        for name, array in self._weights.items():
            held = array.copy()
            held.setflags(write=False)
            network.graph.initializers[name].const_value = ir.Tensor(held, name=name)
        return Model(self._name, network)
