"""Moments of layer inputs against dense computations that share no code with them."""

import numpy as np
import onnx_ir as ir
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.data import ArrayDataset
from fewbits.errors import DataError, ModelError
from fewbits.graph import constant, layers, values_by_name
from fewbits.hessian import Moments, input_moments, moments_of, passes
from fewbits.layermatrix import columns, from_matrix, weight_matrix
from fewbits.runtime import Session
from fewbits.testing import toys
from fewbits.testing.inspection import context
from fewbits.testing.net import Net


def traced(model, data):
    """Return value name → what the float network computes, every value of it."""
    network = model.network.clone()
    values = values_by_name(network.graph)
    computed = [v for node in network.graph for v in node.outputs]
    network.graph.outputs.extend(v for v in computed if not v.is_graph_output())
    seen = Session(network, threads=1, outputs=[str(v.name) for v in computed]).run(data)
    fixed = {name: a for name, v in values.items() if (a := constant(v)) is not None}
    return {**fixed, **data, **seen}


def channels_first(layer, output):
    """Return an output as `(out, samples · positions)`."""
    if layer.op_type in ("Gemm", "MatMul"):
        return output.reshape(-1, output.shape[-1]).T
    return np.moveaxis(output, 1, 0).reshape(output.shape[1], -1)


@pytest.mark.parametrize("toy", toys.TOYS)
def test_weight_matrix_times_columns_is_the_layer(toy):
    """ONNX Runtime is the peer: `W·x + b` over our columns gives its output."""
    model = toys.TOYS[toy]()
    data = toys.calibration(model, 3).inputs
    seen = traced(model, data)
    for layer in layers(model.graph):
        found = np.matmul(
            weight_matrix(layer, constant(layer.weight)), columns(layer, seen[layer.input.name])
        ).reshape(layer.out_channels, -1)
        if layer.bias is not None:
            found = found + constant(layer.bias).reshape(-1, 1)
        wanted = channels_first(layer, seen[layer.node.outputs[0].name])
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("attributes", "kernel"),
    [
        ({"strides": [2, 3], "pads": [0, 1, 2, 1], "dilations": [2, 1]}, (3, 2)),
        ({"auto_pad": "SAME_LOWER", "strides": [2, 2]}, (4, 3)),
        ({"auto_pad": "VALID"}, (5, 5)),
    ],
)
def test_windows_of_every_kind(attributes, kernel):
    net = Net("window")
    if "auto_pad" in attributes:
        x = net.input("x", 4, 12, 12)
        weight = net.normal((6, 2, *kernel), 8)
        y = net.op("Conv", x, weight, group=2, **attributes)
    else:
        y = net.conv(net.input("x", 4, 12, 12), 4, 6, kernel, group=2, bias=False, **attributes)
    net.output(y, 6, "h", "w")
    model = net.build()
    (layer,) = layers(model.graph)
    x = np.random.default_rng(1).normal(size=(2, 4, 12, 12)).astype(np.float32)
    wanted = Session(model.network, threads=1).run({"x": x})[y]
    found = np.matmul(weight_matrix(layer, constant(layer.weight)), columns(layer, x))
    np.testing.assert_allclose(
        found.reshape(6, -1), np.moveaxis(wanted, 1, 0).reshape(6, -1), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        {"strides": [3, 1], "dilations": [1, 2], "group": 2},
        {"pads": [3, 3, 3, 3]},
    ],
)
def test_transposed_windows(attributes):
    net = Net("transposed")
    x = net.input("x", 4, 7, 7)
    weight = net.normal((4, 3, 3, 3), 36)
    y = net.op("ConvTranspose", x, weight, **attributes)
    net.output(y, 3 * attributes.get("group", 1), "h", "w")
    model = net.build()
    (layer,) = layers(model.graph)
    data = np.random.default_rng(1).normal(size=(2, 4, 7, 7)).astype(np.float32)
    wanted = Session(model.network, threads=1).run({"x": data})[y]
    found = np.matmul(weight_matrix(layer, constant(layer.weight)), columns(layer, data))
    out = layer.out_channels
    np.testing.assert_allclose(
        found.reshape(out, -1), np.moveaxis(wanted, 1, 0).reshape(out, -1), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("toy", toys.TOYS)
def test_weight_comes_back_from_its_matrix(toy):
    for layer in layers(toys.TOYS[toy]().graph):
        weight = constant(layer.weight)
        np.testing.assert_array_equal(from_matrix(layer, weight_matrix(layer, weight)), weight)


@pytest.mark.parametrize("toy", toys.TOYS)
def test_streamed_moments_are_those_of_all_columns_at_once(toy):
    model = toys.TOYS[toy]()
    data = toys.calibration(model, 13)
    seen = traced(model, data.inputs)
    named = {layer.name: layer for layer in layers(model.graph)}
    found = input_moments(model, list(named), context(CpuTarget(), data))
    assert list(found) == list(named)
    for name, layer in named.items():
        x = columns(layer, seen[layer.input.name]).astype(np.float64)
        assert found[name].count == x.shape[2]
        np.testing.assert_allclose(found[name].first, x.sum(axis=2), rtol=1e-4, atol=1e-3)
        wanted = np.einsum("gcp,gdp->gcd", x, x)
        np.testing.assert_allclose(found[name].second, wanted, rtol=1e-4, atol=1e-2)
        np.testing.assert_array_equal(found[name].second, found[name].second.swapaxes(1, 2))


def test_blocks_of_samples_do_not_matter(monkeypatch):
    model = toys.conv_chain()
    layer = list(layers(model.graph))[1]
    x = np.random.default_rng(0).normal(size=(9, 8, 12, 12)).astype(np.float32)
    whole = moments_of(layer, x)
    monkeypatch.setattr("fewbits.hessian._COLUMN_BYTES", 1)
    parts = moments_of(layer, x)
    np.testing.assert_allclose(parts.second, whole.second, rtol=1e-5, atol=1e-3)
    assert parts.count == whole.count


def test_merged_moments_are_those_of_both_parts():
    (layer, *_) = layers(toys.gemm().graph)
    x = np.random.default_rng(0).normal(size=(10, 32)).astype(np.float64)
    whole, merged = moments_of(layer, x), moments_of(layer, x[:3]).merge(moments_of(layer, x[3:]))
    np.testing.assert_allclose(merged.second, whole.second)
    np.testing.assert_allclose(merged.first, whole.first)
    assert merged.count == whole.count == 10


def test_hessian_is_that_of_the_output_error():
    """`½ (w − ŵ) H (w − ŵ)ᵀ` is the squared error of the output, with the best bias if centered."""
    rng = np.random.default_rng(0)
    x, delta = rng.normal(1.0, 1.0, (4, 50)), rng.normal(size=4)
    moments = Moments((x @ x.T)[None], x.sum(axis=1)[None], 50, 50)
    error = delta @ x
    assert delta @ moments.hessian()[0] @ delta / 2 == pytest.approx(np.sum(error**2))
    centered = delta @ moments.hessian(centered=True)[0] @ delta / 2
    assert centered == pytest.approx(np.sum((error - error.mean()) ** 2))


def test_shrinkage_falls_with_more_samples_and_rises_with_fewer():
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(20, 20))
    found = []
    for count in (15, 150, 15000):
        x = mix @ rng.normal(size=(20, count))
        moments = Moments((x @ x.T)[None], x.sum(axis=1)[None], count, count)
        found.append(float(moments.shrinkage[0]))
    assert 1.0 > found[0] > found[1] > found[2] > 0.0
    isotropic = Moments(np.eye(4)[None] * 9, np.zeros((1, 4)), 10, 10)
    assert isotropic.shrinkage[0] == 1.0


def test_ordered_moments_are_those_of_ordered_columns():
    rng = np.random.default_rng(0)
    x, order = rng.normal(1.0, 1.0, (2, 5, 30)), rng.permutation(5)
    moments = Moments(x @ x.swapaxes(1, 2), x.sum(axis=2), 30, 10)
    y, found = x[:, order], moments.ordered(order)
    np.testing.assert_allclose(found.second, y @ y.swapaxes(1, 2))
    np.testing.assert_allclose(found.first, y.sum(axis=2))
    assert (found.count, found.samples) == (30, 10)


def test_passes_keep_within_the_limit_and_miss_no_layer():
    model = toys.depthwise()
    names = [layer.name for layer in layers(model.graph)]
    sizes = {"conv_0": 3 * 4 * 8, "conv_2": 12 * 9 * 10 * 8, "conv_4": 12 * 13 * 8}
    assert list(sizes) == names
    assert passes(model, names) == [tuple(names)]
    assert passes(model, names, limit=1) == [(name,) for name in names]
    both = sizes["conv_0"] + sizes["conv_2"]
    assert passes(model, names, limit=both) == [("conv_0", "conv_2"), ("conv_4",)]
    assert passes(model, []) == []


def test_what_is_wrong_is_named():
    model = toys.conv_chain()
    with pytest.raises(ModelError) as caught:
        input_moments(model, ["conv_9"], context(CpuTarget(), toys.calibration(model)))
    assert "conv_9" in caught.value.message
    with pytest.raises(DataError):
        input_moments(model, ["conv_0"], context(CpuTarget(), None))
    infinite = ArrayDataset({"image": np.full((1, 3, 12, 12), np.inf, np.float32)})
    with pytest.raises(ModelError, match="conv_0"):
        input_moments(model, ["conv_0"], context(CpuTarget(), infinite))


def test_the_model_is_not_changed():
    model = toys.two_outputs()
    before = ir.to_proto(model.network).SerializeToString()
    names = [layer.name for layer in layers(model.graph)]
    input_moments(model, names, context(CpuTarget(), toys.calibration(model)))
    assert ir.to_proto(model.network).SerializeToString() == before
