"""Toy networks of every shape that a pass must survive, and data to calibrate them with.

Each function returns a `Model` as a frontend parses one: stage `parsed`, opset 21, named nodes, a
symbolic batch `N`, shapes inferred, read-only seeded weights. They run in well under a millisecond
a sample, and their activations stay around unit variance, so that quantizing them to 8 bits is
neither trivial nor hopeless.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from fewbits.model import Model
from fewbits.testing.net import Net
from fewbits.testing.samples import calibration as calibration

SIDE = 12


def _image(net: Net, name: str = "image") -> str:
    return net.input(name, 3, SIDE, SIDE)


def _clip(net: Net, x: str, low: float = 0.0, high: float = 6.0) -> str:
    bounds = (net.constant(np.asarray(bound, np.float32)) for bound in (low, high))
    return net.op("Clip", x, *bounds)


def _shape(net: Net, *sizes: int) -> str:
    return net.constant(np.asarray(sizes, np.int64))


def conv_chain() -> Model:
    """Conv, ReLU, Conv, ReLU6, Conv: the plainest network."""
    net = Net("conv_chain")
    x = net.op("Relu", net.conv(_image(net), 3, 8))
    x = _clip(net, net.conv(x, 8, 8))
    net.output(net.conv(x, 8, 4), 4, SIDE, SIDE)
    return net.build()


def depthwise() -> Model:
    """An inverted bottleneck: 1×1 expand, 3×3 depthwise, 1×1 project without activation."""
    net = Net("depthwise")
    x = _clip(net, net.conv(_image(net), 3, 12, 1))
    x = _clip(net, net.conv(x, 12, 12, group=12))
    net.output(net.conv(x, 12, 6, 1), 6, SIDE, SIDE)
    return net.build()


def residual() -> Model:
    """A block whose input is added to its output, with a ReLU after the add."""
    net = Net("residual")
    stem = net.op("Relu", net.conv(_image(net), 3, 8))
    branch = net.conv(net.op("Relu", net.conv(stem, 8, 8)), 8, 8)
    x = net.op("Relu", net.op("Add", stem, branch))
    net.output(net.conv(x, 8, 4, 1), 4, SIDE, SIDE)
    return net.build()


def concat() -> Model:
    """Two branches of different kernels and ranges, concatenated along the channels."""
    net = Net("concat")
    stem = net.op("Relu", net.conv(_image(net), 3, 6))
    left = net.op("Relu", net.conv(stem, 6, 4, 1))
    right = _clip(net, net.conv(stem, 6, 6, 3), 0.0, 3.0)
    x = net.op("Concat", left, right, axis=1)
    net.output(net.conv(x, 10, 4, 1), 4, SIDE, SIDE)
    return net.build()


def _squeeze_excite(net: Net, gate: str) -> Model:
    x = net.op("Relu", net.conv(_image(net), 3, 8))
    squeezed = net.op("GlobalAveragePool", x)
    squeezed = net.op("Relu", net.conv(squeezed, 8, 4, 1))
    weight = net.op(gate, net.conv(squeezed, 4, 8, 1))
    x = net.op("Mul", x, weight)
    net.output(net.conv(x, 8, 4, 1), 4, SIDE, SIDE)
    return net.build()


def se_block() -> Model:
    """Squeeze and excite: channels weighted by a Sigmoid of their pooled means."""
    return _squeeze_excite(Net("se_block"), "Sigmoid")


def se_hard_sigmoid() -> Model:
    """Squeeze and excite with a HardSigmoid gate."""
    return _squeeze_excite(Net("se_hard_sigmoid"), "HardSigmoid")


def gemm() -> Model:
    """Flatten, Gemm, ReLU, Gemm: no convolution at all."""
    net = Net("gemm")
    x = net.op("Flatten", net.input("image", 2, 4, 4))
    x = net.op("Relu", net.gemm(x, 32, 16))
    net.output(net.gemm(x, 16, 5), 5)
    return net.build()


def two_inputs() -> Model:
    """Two pictures, a convolution each, added."""
    net = Net("two_inputs")
    left = net.op("Relu", net.conv(_image(net, "left"), 3, 6))
    right = net.op("Relu", net.conv(_image(net, "right"), 3, 6))
    x = net.op("Add", left, right)
    net.output(net.conv(x, 6, 4), 4, SIDE, SIDE)
    return net.build()


def two_outputs() -> Model:
    """One stem, a dense head and a pooled head; the stem itself feeds both."""
    net = Net("two_outputs")
    stem = net.op("Relu", net.conv(_image(net), 3, 8))
    net.output(net.conv(stem, 8, 2, 1), 2, SIDE, SIDE)
    pooled = net.op("Flatten", net.op("GlobalAveragePool", stem))
    net.output(net.gemm(pooled, 8, 5), 5)
    return net.build()


def pooling() -> Model:
    """MaxPool and AveragePool, both padded, after convolutions."""
    net = Net("pooling")
    x = net.op("Relu", net.conv(_image(net), 3, 8))
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = net.conv(x, 8, 8)
    x = net.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    net.output(net.conv(x, 8, 4, 1), 4, 3, 3)
    return net.build()


def strided() -> Model:
    """Strides, dilations, a non-square kernel and padding that differs from side to side."""
    net = Net("strided")
    x = net.op("Relu", net.conv(_image(net), 3, 8, strides=[2, 2], pads=[0, 0, 1, 1]))
    x = net.op("Relu", net.conv(x, 8, 8, dilations=[2, 2], pads=[2, 2, 2, 2]))
    net.output(net.conv(x, 8, 4, (3, 1), pads=[0, 1, 1, 0]), 4, 5, 7)
    return net.build()


def leaky() -> Model:
    """LeakyRelu and PRelu: activations that keep negative values."""
    net = Net("leaky")
    x = net.op("LeakyRelu", net.conv(_image(net), 3, 8), alpha=0.1)
    slope = net.constant(np.linspace(0.05, 0.4, 8, dtype=np.float32).reshape(8, 1, 1))
    x = net.op("PRelu", net.conv(x, 8, 8), slope)
    net.output(net.conv(x, 8, 4), 4, SIDE, SIDE)
    return net.build()


def conv_transpose() -> Model:
    """A ConvTranspose that doubles the picture's size."""
    net = Net("conv_transpose")
    x = net.op("Relu", net.conv(_image(net), 3, 8, strides=[2, 2]))
    weight = net.normal((8, 6, 2, 2), 8, name="up_weight")
    bias = net.bias(6, "up_bias")
    x = net.op("Relu", net.op("ConvTranspose", x, weight, bias, name="up", strides=[2, 2]))
    net.output(net.conv(x, 6, 4, 1), 4, SIDE, SIDE)
    return net.build()


def matmul() -> Model:
    """MatMul by a constant and Add of a constant, over a sequence: `(N, 6, 16)`."""
    net = Net("matmul")
    x = net.op("MatMul", net.input("tokens", 6, 16), net.normal((16, 12), 16, name="weight"))
    x = net.op("Relu", net.op("Add", x, net.bias(12, "bias")))
    net.output(net.op("MatMul", x, net.normal((12, 4), 12, name="head")), 6, 4)
    return net.build()


def softmax() -> Model:
    """A classifier that ends in Softmax."""
    net = Net("softmax")
    x = net.op("Relu", net.conv(_image(net), 3, 8))
    x = net.op("MaxPool", x, kernel_shape=[4, 4], strides=[4, 4])
    x = net.gemm(net.op("Flatten", x), 72, 5)
    net.output(net.op("Softmax", x, axis=-1), 5)
    return net.build()


def hard_swish() -> Model:
    """Hard-swish after each convolution."""
    net = Net("hard_swish")
    x = net.op("HardSwish", net.conv(_image(net), 3, 8))
    x = net.op("HardSwish", net.conv(x, 8, 8, group=8))
    net.output(net.conv(x, 8, 4, 1), 4, SIDE, SIDE)
    return net.build()


def silu() -> Model:
    """SiLU, written as ONNX writes it: `x · Sigmoid(x)`."""
    net = Net("silu")
    x = net.conv(_image(net), 3, 8)
    x = net.conv(net.op("Mul", x, net.op("Sigmoid", x)), 8, 8)
    x = net.op("Mul", x, net.op("Sigmoid", x))
    net.output(net.conv(x, 8, 4, 1), 4, SIDE, SIDE)
    return net.build()


def sliced_shortcut() -> Model:
    """ResNet's parameter-free shortcut: every second pixel, new channels padded with zeros."""
    net = Net("sliced_shortcut")
    stem = net.op("Relu", net.conv(_image(net), 3, 6))
    starts, ends, axes = _shape(net, 0, 0), _shape(net, SIDE, SIDE), _shape(net, 2, 3)
    shortcut = net.op("Slice", stem, starts, ends, axes, _shape(net, 2, 2))
    shortcut = net.op("Pad", shortcut, _shape(net, 0, 3, 0, 0, 0, 3, 0, 0))
    branch = net.op("Relu", net.conv(stem, 6, 12, strides=[2, 2]))
    x = net.op("Relu", net.op("Add", shortcut, net.conv(branch, 12, 12)))
    net.output(net.conv(x, 12, 4, 1), 4, SIDE // 2, SIDE // 2)
    return net.build()


def channel_shuffle() -> Model:
    """Grouped convolutions with their channels shuffled between: Reshape, Transpose, Reshape."""
    net = Net("channel_shuffle")
    x = net.op("Relu", net.conv(_image(net), 3, 8))
    x = net.op("Relu", net.conv(x, 8, 8, 1, group=2))
    x = net.op("Reshape", x, _shape(net, 0, 2, 4, SIDE, SIDE))
    x = net.op("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = net.op("Reshape", x, _shape(net, 0, 8, SIDE, SIDE))
    net.output(net.conv(x, 8, 4, group=2), 4, SIDE, SIDE)
    return net.build()


def resize() -> Model:
    """Nearest-neighbour Resize by two, and a Split whose halves are multiplied."""
    net = Net("resize")
    x = net.op("Relu", net.conv(_image(net), 3, 8, strides=[2, 2]))
    left, right = net.split(x, 2)
    x = net.op("Mul", left, right)
    x = net.op("Resize", x, "", net.constant([1.0, 1.0, 2.0, 2.0]), mode="nearest")
    net.output(net.conv(x, 4, 4), 4, SIDE, SIDE)
    return net.build()


def shared_weights() -> Model:
    """One weight read by two convolutions without bias, as siamese networks have it."""
    net = Net("shared_weights")
    stem = net.op("Relu", net.conv(_image(net), 3, 8))
    weight = net.normal((8, 8, 3, 3), 72, name="shared")
    x = net.op("Relu", net.conv(stem, 8, 8, bias=False, weight=weight))
    x = net.op("Relu", net.conv(x, 8, 8, bias=False, weight=weight))
    net.output(net.conv(x, 8, 4, 1), 4, SIDE, SIDE)
    return net.build()


def conv1d() -> Model:
    """A signal instead of a picture: convolutions over one dimension, then a mean."""
    net = Net("conv1d")
    x = net.op("Relu", net.conv(net.input("signal", 2, 32), 2, 8, (5,)))
    x = net.op("Relu", net.conv(x, 8, 8, (5,), strides=[2]))
    x = net.op("ReduceMean", x, _shape(net, 2), keepdims=0)
    net.output(net.gemm(x, 8, 3), 3)
    return net.build()


#: Name → function, every toy of this module.
TOYS: Mapping[str, Callable[[], Model]] = MappingProxyType(
    {
        toy.__name__: toy
        for toy in (
            conv_chain,
            depthwise,
            residual,
            concat,
            se_block,
            gemm,
            two_inputs,
            two_outputs,
            pooling,
            strided,
            leaky,
            conv_transpose,
            matmul,
            softmax,
            hard_swish,
            silu,
            se_hard_sigmoid,
            sliced_shortcut,
            channel_shuffle,
            resize,
            shared_weights,
            conv1d,
        )
    }
)
