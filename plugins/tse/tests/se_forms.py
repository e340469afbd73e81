"""Squeeze-and-excite blocks as exporters write them, over the same weights."""

import numpy as np
from fewbits.testing.net import Net

CHANNELS, SQUEEZED, HEIGHT, WIDTH = 6, 3, 11, 5


def i64(net, *numbers):
    return net.constant(np.asarray(numbers, np.int64))


def f32(net, number):
    return net.constant(np.asarray(number, np.float32))


def weights(seed=3):
    rng = np.random.default_rng(seed)
    shapes = {"w1": (SQUEEZED, CHANNELS), "b1": (SQUEEZED,)}
    shapes |= {"w2": (CHANNELS, SQUEEZED), "b2": (CHANNELS,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


POOLS = {
    "global_average": lambda net, x: net.op("GlobalAveragePool", x),
    "reduce_mean": lambda net, x: net.op("ReduceMean", x, i64(net, 2, 3)),
    "reduce_mean_negative": lambda net, x: net.op("ReduceMean", x, i64(net, -1, -2)),
    "reduce_mean_twice": lambda net, x: net.op(
        "ReduceMean", net.op("ReduceMean", x, i64(net, 3)), i64(net, 2)
    ),
    "reduce_mean_flat": lambda net, x: net.op(
        "Reshape",
        net.op("ReduceMean", x, i64(net, 2, 3), keepdims=0),
        i64(net, 0, CHANNELS, 1, 1),
    ),
    "reduce_mean_flat_twice": lambda net, x: net.op(
        "Unsqueeze",
        net.op(
            "ReduceMean",
            net.op("ReduceMean", x, i64(net, 3), keepdims=0),
            i64(net, 2),
            keepdims=0,
        ),
        i64(net, 2, 3),
    ),
    "average_pool": lambda net, x: net.op("AveragePool", x, kernel_shape=[HEIGHT, WIDTH]),
}


def convolutions(net, x, inside):
    w = weights()
    x = net.op("Conv", x, net.constant(w["w1"][..., None, None]), net.constant(w["b1"]))
    x = inside(net, x)
    return net.op("Conv", x, net.constant(w["w2"][..., None, None]), net.constant(w["b2"]))


def gemms(net, x, inside):
    w = weights()
    x = net.op("Flatten", x)
    x = net.op("Gemm", x, net.constant(w["w1"]), net.constant(w["b1"]), transB=1)
    x = inside(net, x)
    x = net.op("Gemm", x, net.constant(w["w2"].T.copy()), net.constant(w["b2"]))
    return net.op("Unsqueeze", x, i64(net, 2, 3))


def matmuls(net, x, inside):
    w = weights()
    x = net.op("Reshape", x, i64(net, -1, CHANNELS))
    x = net.op("MatMul", x, net.constant(w["w1"].T.copy()))
    x = inside(net, net.op("Add", x, net.constant(w["b1"])))
    x = net.op("MatMul", x, net.constant(w["w2"].T.copy()))
    x = net.op("Add", net.constant(w["b2"]), x)
    return net.op("Reshape", x, i64(net, -1, CHANNELS, 1, 1))


def channels_last(net, x, inside):
    """As Keras' Dense does it behind a Transpose."""
    w = weights()
    x = net.op("Transpose", x, perm=[0, 2, 3, 1])
    x = net.op("MatMul", x, net.constant(w["w1"].T.copy()))
    x = inside(net, net.op("Add", x, net.constant(w["b1"])))
    x = net.op("MatMul", x, net.constant(w["w2"].T.copy()))
    x = net.op("Add", x, net.constant(w["b2"]))
    return net.op("Transpose", x, perm=[0, 3, 1, 2])


LAYERS = {f.__name__: f for f in (convolutions, gemms, matmuls, channels_last)}

INSIDE = {
    "relu": (lambda net, x: net.op("Relu", x), lambda z: np.maximum(z, 0)),
    "silu": (lambda net, x: net.op("Mul", x, net.op("Sigmoid", x)), lambda z: z * sigmoid(z)),
    "hard_swish": (lambda net, x: net.op("HardSwish", x), lambda z: z * hard(z, 1 / 6)),
    "hard_swish_in_parts": (
        lambda net, x: net.op("Div", net.op("Mul", x, relu6_of_plus_3(net, x)), f32(net, 6.0)),
        lambda z: z * hard(z, 1 / 6),
    ),
}


def relu6_of_plus_3(net, x):
    return net.op("Clip", net.op("Add", x, f32(net, 3.0)), f32(net, 0.0), f32(net, 6.0))


GATES = {
    "sigmoid": (lambda net, x: net.op("Sigmoid", x), lambda z: sigmoid(z)),
    "hard_sigmoid": (lambda net, x: net.op("HardSigmoid", x), lambda z: hard(z, 0.2)),
    "hard_sigmoid_in_parts": (
        lambda net, x: net.op("Div", relu6_of_plus_3(net, x), f32(net, 6.0)),
        lambda z: hard(z, 1 / 6),
    ),
}


def _plain(net, x, gate):
    return net.op("Mul", x, gate, name="weigh")


def _swapped(net, x, gate):
    return net.op("Mul", gate, x, name="weigh")


def _expanded(net, x, gate):
    """As `x * y.expand_as(x)` comes out."""
    return net.op("Mul", x, net.op("Expand", gate, net.op("Shape", x)), name="weigh")


PRODUCTS = {"plain": _plain, "swapped": _swapped, "expanded": _expanded}


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def hard(z, alpha):
    return np.clip(alpha * z + 0.5, 0, 1)


def block(
    pool="global_average", layers="convolutions", inside="relu", gate="sigmoid", product="plain"
):
    """Return a network of nothing but one block over the input `(N, 6, 11, 5)`."""
    net = Net("block")
    x = net.input("x", CHANNELS, HEIGHT, WIDTH)
    excited = LAYERS[layers](net, POOLS[pool](net, x), INSIDE[inside][0])
    net.output(PRODUCTS[product](net, x, GATES[gate][0](net, excited)), CHANNELS, HEIGHT, WIDTH)
    return net.build()


def keras_block(layers="convolutions", product="plain"):
    """Return a block whose map is `(N, 11, 5, 6)`, as tf2onnx writes one that it cannot turn.

    Input and output are `(N, 6, 11, 5)`, with a Transpose at each end.
    """
    net = Net("keras_block")
    x = net.op("Transpose", net.input("x", CHANNELS, HEIGHT, WIDTH), perm=[0, 2, 3, 1])
    w = weights()
    gate = net.op("ReduceMean", x, i64(net, 1, 2))
    if layers == "convolutions":
        gate = net.op("Transpose", gate, perm=[0, 3, 1, 2])
        gate = net.op("Sigmoid", convolutions(net, gate, INSIDE["relu"][0]))
        gate = net.op("Transpose", gate, perm=[0, 2, 3, 1])
    else:
        gate = net.op("MatMul", gate, net.constant(w["w1"].T.copy()))
        gate = net.op("Relu", net.op("Add", gate, net.constant(w["b1"])))
        gate = net.op("MatMul", gate, net.constant(w["w2"].T.copy()))
        gate = net.op("Sigmoid", net.op("Add", gate, net.constant(w["b2"])))
    weighed = PRODUCTS[product](net, x, gate)
    net.output(net.op("Transpose", weighed, perm=[0, 3, 1, 2]), CHANNELS, HEIGHT, WIDTH)
    return net.build()


def gate_of(inside="relu", gate="sigmoid"):
    """Return the block's excitation in numpy, on `(batch, channels, tiles, 1)`."""
    w = weights()

    def layer(number, x):
        bias = w[f"b{number}"][:, None, None]
        return np.einsum("oc,nctw->notw", w[f"w{number}"].astype(np.float64), x) + bias

    return lambda m: GATES[gate][1](layer(2, INSIDE[inside][1](layer(1, m))))
