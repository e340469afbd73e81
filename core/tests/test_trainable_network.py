"""The trainable network against the emulator, its gradients, and the way back to a model."""

from dataclasses import replace

import fewbits
import numpy as np
import pytest
from fewbits.archive import content
from fewbits.builtin.cpu import CpuTarget
from fewbits.graph import constant, layers, set_constant
from fewbits.testing import toys
from fewbits.testing.net import Net

torch = pytest.importorskip("torch")

from fewbits.runtime import Session  # noqa: E402
from fewbits.trainable.graphrun import FloatNetwork  # noqa: E402
from fewbits.trainable.network import QuantizedNetwork  # noqa: E402
from fewbits.trainable.writeback import trained_model, within_steps  # noqa: E402

MODES = ("a8_w8", "a8_w4", "a16_w8")


def quantized(name, mode="a8_w8", **options):
    model = toys.TOYS[name]()
    data = toys.calibration(model)
    extra = "".join(f",{key}={value}" for key, value in options.items())
    return fewbits.optimize(model, calibration=data, recipe=[f"quantize:precision={mode}{extra}"])


def some_inputs(model, count=6):
    return next(iter(toys.calibration(model).batches(count))).inputs


def tensors(inputs):
    return {name: torch.tensor(np.ascontiguousarray(x)) for name, x in inputs.items()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", toys.TOYS)
def test_forward_agrees_with_the_emulator(name, mode):
    """A tie that float sums meet may fall to the other side: one step of the output, rarely."""
    model = quantized(name, mode)
    inputs = some_inputs(model)
    wanted = CpuTarget().emulator(model).run(inputs)
    with torch.no_grad():
        found = QuantizedNetwork(model)(tensors(inputs))
    for output, truth in wanted.items():
        encoding = model.encodings.get(output)
        step = float(encoding.scale) if encoding is not None else np.abs(truth).max() / 256
        off = np.abs(found[output].numpy() - truth) / step
        assert off.max() < (1.51 if mode[:2] == "a8" else 8.0), output  # float32 has 24 bits
        assert np.mean(off > 1.51) < 0.01, output


def grouped_transpose():
    """A ConvTranspose of two groups, which share their scales, with a bias."""
    net = Net("grouped_transpose")
    x = net.op("Relu", net.conv(net.input("image", 3, 6, 6), 3, 8))
    weight, bias = net.normal((8, 3, 2, 2), 16), net.bias(6, "up_bias")
    x = net.op("ConvTranspose", x, weight, bias, name="up", strides=[2, 2], group=2)
    net.output(net.op("Relu", x), 6, 12, 12)
    return net.build()


def test_groups_of_a_transposed_convolution_share_their_scales():
    model, data = grouped_transpose(), toys.calibration(grouped_transpose())
    model = fewbits.optimize(model, calibration=data, recipe=["quantize:precision=a8_w4", "gptq"])
    inputs = next(iter(data.batches(6))).inputs
    network = QuantizedNetwork(model)
    with torch.no_grad():
        (found,) = network(tensors(inputs)).values()
    (wanted,) = CpuTarget().emulator(model).run(inputs).values()
    step = float(model.encodings[model.output_names[0]].scale)
    assert np.abs(found.numpy() - wanted).max() < 1.51 * step
    assert content(trained_model(network)) == content(model)


@pytest.mark.parametrize("name", toys.TOYS)
def test_training_sees_what_is_judged(name):
    model = quantized(name)
    inputs = tensors(some_inputs(model))
    network = QuantizedNetwork(model)
    trained = network(inputs)
    with torch.no_grad():
        judged = network(inputs)
    for output, value in judged.items():
        noise = (trained[output].detach() - value).square().sum() / value.square().sum()
        assert float(noise) < 1e-4


@pytest.mark.parametrize("name", toys.TOYS)
def test_every_degree_of_freedom_gets_a_gradient(name):
    model = quantized(name, "a8_w4")
    network = QuantizedNetwork(model)
    outputs = network(tensors(some_inputs(model, 16)))
    sum((x.square().sum() for x in outputs.values()), torch.zeros(())).backward()
    for kind, members in network.degrees().items():
        missing = [n for n, p in members.items() if p.grad is None or not p.grad.isfinite().all()]
        assert not missing, kind
    assert any(p.grad.abs().sum() > 0 for p in network.degrees()["weights"].values())
    assert any(p.grad.abs().sum() > 0 for p in network.degrees()["activation_scales"].values())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", toys.TOYS)
def test_parameters_that_never_moved_give_the_same_model(name, mode):
    model = quantized(name, mode)
    assert content(trained_model(QuantizedNetwork(model))) == content(model)


@pytest.mark.parametrize("name", ["conv_chain", "residual", "gemm", "conv_transpose", "concat"])
def test_a_moved_network_is_written_back_as_it_computes(name):
    model = quantized(name, "a8_w4")
    network = QuantizedNetwork(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for kind, members in network.degrees().items():
            for parameter in members.values():
                size = 0.02 if kind in ("weights", "biases") else 0.1
                parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    new = trained_model(network)
    assert content(new) != content(model)
    inputs = some_inputs(model)
    with torch.no_grad():
        wanted = network(tensors(inputs))
    found = CpuTarget().emulator(new).run(inputs)
    for output, truth in wanted.items():
        noise = np.square(found[output] - truth.numpy()).sum() / np.square(truth.numpy()).sum()
        assert noise < 1e-4


def test_cross_layer_factors_cancel_in_full_precision():
    """Weights of 16 bits are as good as full precision: factors change next to nothing there."""
    model = quantized("residual", "a16_w16")
    network = QuantizedNetwork(model)
    inputs = tensors(some_inputs(model))
    assert len(network.log_factors) > 1
    before = network(inputs)
    with torch.no_grad():
        network.log_factors.copy_(torch.linspace(-0.5, 0.5, len(network.log_factors)))
        for name, activation in network.activations.items():
            if activation.rounding.encoding.bits == 16 and name not in inputs:
                activation.log_step.add_(0.5)
        for part in network.layers.values():
            part.log_step.add_(1.0)
    after = network(inputs)
    for output, value in before.items():
        noise = ((after[output] - value).square().sum() / value.square().sum()).detach()
        assert float(noise) < 1e-5


def test_pruned_weights_stay_zero():
    model = toys.conv_chain()
    masks = {
        str(layer.weight.name): np.asarray(constant(layer.weight)) > 0
        for layer in layers(model.graph)
    }
    for layer in layers(model.graph):
        kept = np.where(masks[str(layer.weight.name)], constant(layer.weight), np.float32(0))
        set_constant(layer.weight, kept)
    pruned = model.replace(masks=masks)
    data = toys.calibration(model)
    network = QuantizedNetwork(
        fewbits.optimize(pruned, calibration=data, recipe=["quantize:precision=a8_w4"])
    )
    with torch.no_grad():
        for parameter in network.degrees()["weights"].values():
            parameter.add_(1.0)
    new = trained_model(network)
    for name, mask in masks.items():
        weight = np.asarray(constant(new.graph.initializers[name]))
        assert not weight[~mask].any()
        assert weight[mask].any()


@pytest.mark.parametrize("name", toys.TOYS)
def test_the_float_network_computes_what_onnx_runtime_does(name):
    model = toys.TOYS[name]()
    inputs = some_inputs(model)
    wanted = Session(model.network).run(inputs)
    with torch.no_grad():
        found = FloatNetwork(model.graph)(tensors(inputs), model.output_names)
    for output, truth in wanted.items():
        np.testing.assert_allclose(found[output].numpy(), truth, rtol=1e-4, atol=1e-5)


def test_within_steps_keeps_the_rounding_and_comes_closest():
    model = quantized("conv_chain", "a8_w4")
    layer = next(iter(layers(model.graph)))
    encoding, rounded = model.encodings[layer.weight.name], np.asarray(constant(layer.weight))
    full = rounded + np.random.default_rng(0).normal(0, 1, rounded.shape) * 0.2
    start = within_steps(full, rounded, encoding)
    network = QuantizedNetwork(model, {str(layer.weight.name): start})
    assert content(trained_model(network)) == content(model)
    step = np.asarray(encoding.scale).reshape(-1, 1, 1, 1)
    near = np.abs(full - rounded) < 0.25 * step
    np.testing.assert_allclose(start[near], full[near], rtol=1e-6)


def test_a_float_model_is_refused():
    with pytest.raises(fewbits.errors.ModelError, match="not quantized"):
        QuantizedNetwork(replace(toys.gemm()))
