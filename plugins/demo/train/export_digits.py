"""Write the trained network as ONNX, node by node, so that the file holds what is meant.

Batch normalization stays in the file: folding it is the parser's work. No path, name of a
machine or version of an exporter gets in.
"""

import numpy as np
import onnx
from network import ConvUnit, DigitsNet, InvertedResidual, SqueezeExcite
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

OPSET = 17


class Graph:
    """Nodes and weights gathered in order; each method adds one op and returns its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, value: np.ndarray) -> str:
        """Add a constant."""
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def tensor(self, name: str, value: Tensor) -> str:
        """Add a parameter."""
        return self.weight(name, value.detach().numpy().astype(np.float32))

    def add(self, op: str, name: str, inputs: list[str], **attributes: object) -> str:
        """Add one node."""
        output = f"{name}_out"
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def conv(self, name: str, module: nn.Conv2d, x: str) -> str:
        """Add a convolution."""
        inputs = [x, self.tensor(f"{name}.weight", module.weight)]
        if module.bias is not None:
            inputs.append(self.tensor(f"{name}.bias", module.bias))
        top, left = module.padding
        return self.add(
            "Conv",
            name,
            inputs,
            kernel_shape=list(module.kernel_size),
            strides=list(module.stride),
            pads=[top, left, top, left],
            group=module.groups,
        )

    def unit(self, name: str, module: ConvUnit, x: str) -> str:
        """Add convolution, batch normalization and, if active, a clip at six."""
        y = self.conv(f"{name}.conv", module.conv, x)
        norm = module.norm
        statistics = {
            "scale": norm.weight, "bias": norm.bias,
            "mean": norm.running_mean, "var": norm.running_var,
        }  # fmt: skip
        inputs = [self.tensor(f"{name}.norm.{key}", value) for key, value in statistics.items()]
        y = self.add("BatchNormalization", f"{name}.norm", [y, *inputs], epsilon=norm.eps)
        return self.add("Clip", f"{name}.relu6", [y, "zero", "six"]) if module.active else y

    def excite(self, name: str, module: SqueezeExcite, x: str) -> str:
        """Add a squeeze-and-excite block."""
        y = self.add("GlobalAveragePool", f"{name}.pool", [x])
        y = self.add("Relu", f"{name}.relu", [self.conv(f"{name}.squeeze", module.squeeze, y)])
        y = self.conv(f"{name}.excite", module.excite, y)
        y = self.add("Sigmoid", f"{name}.sigmoid", [y])
        return self.add("Mul", f"{name}.scale", [x, y])

    def block(self, name: str, module: InvertedResidual, x: str) -> str:
        """Add an inverted residual."""
        y = self.unit(f"{name}.expand", module.expand, x)
        y = self.unit(f"{name}.depthwise", module.depthwise, y)
        if module.excite is not None:
            y = self.excite(f"{name}.se", module.excite, y)
        y = self.unit(f"{name}.project", module.project, y)
        return self.add("Add", f"{name}.add", [x, y]) if module.residual else y

    def head(self, net: DigitsNet, x: str) -> None:
        """Add the classifier."""
        y = self.add("GlobalAveragePool", "pool", [self.unit("head", net.head, x)])
        y = self.add("Flatten", "flatten", [y], axis=1)
        weight = self.tensor("classifier.weight", net.classifier.weight)
        bias = self.tensor("classifier.bias", net.classifier.bias)
        node = helper.make_node("Gemm", [y, weight, bias], ["logits"], name="classifier", transB=1)
        self.nodes.append(node)


def export(net: DigitsNet) -> onnx.ModelProto:
    """Return the checked ONNX model: `image` float32 `(n, 1, 8, 8)` → `logits` `(n, 10)`."""
    net.eval()
    graph = Graph()
    graph.weight("zero", np.float32(0.0))
    graph.weight("six", np.float32(6.0))
    x = graph.unit("stem", net.stem, "image")
    for name, block in net.blocks().items():
        x = graph.block(name, block, x)
    graph.head(net, x)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "digits",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 8, 8])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
        producer_name="fewbits",
    )
    onnx.checker.check_model(model, full_check=True)
    return model
