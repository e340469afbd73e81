"""A quantized network's float twin, and single tensors on their grids."""

import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.uniform import UniformQuantizer
from fewbits.graph import show
from fewbits.model import Stage
from fewbits.numerics import fake_quantize
from fewbits.ongrid import float_twin, put_on_grid
from fewbits.runtime import Session
from fewbits.testing import toys
from fewbits.testing.inspection import context, float_outputs


def quantized(model, **options):
    step = UniformQuantizer(UniformQuantizer.Options(**options))
    return step.apply(model, context(CpuTarget(), toys.calibration(model))).model


@pytest.mark.parametrize("toy", sorted(toys.TOYS))
def test_the_twin_computes_what_the_float_model_computes(toy):
    model = toys.TOYS[toy]()
    data = toys.calibration(model, 4, seed=1).inputs
    twin = Session(float_twin(quantized(model)), threads=1).run(data)
    for name, wanted in float_outputs(model, data).items():
        np.testing.assert_allclose(twin[name], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("toy", ["conv_chain", "residual", "concat", "gemm", "matmul"])
def test_one_activation_on_its_grid_is_rounded_and_what_reads_it_sees_that(toy):
    model = quantized(toys.TOYS[toy]())
    data = toys.calibration(model, 4, seed=1).inputs
    plain = float_outputs(model.at(Stage.OPTIMIZED), data)
    computed = {str(value.name) for node in model.graph for value in node.outputs}
    for name in sorted(computed & set(model.encodings) - set(model.output_names)):
        network = put_on_grid(float_twin(model), model, [name])
        show(network.graph, [name, f"{name}.dequantized"])
        seen = Session(network, threads=1).run(data)
        rounded = fake_quantize(seen[name], model.encodings[name])
        np.testing.assert_allclose(seen[f"{name}.dequantized"], rounded, rtol=1e-6)
        assert all(not np.array_equal(seen[out], plain[out]) for out in plain)


def test_one_weight_on_its_grid():
    model = quantized(toys.conv_chain(), precision="a8_w4")
    name = next(iter(model.graph.initializers))
    network = put_on_grid(float_twin(model), model, [name])
    for each, value in network.graph.initializers.items():
        held = (model if each == name else model.at(Stage.OPTIMIZED)).graph.initializers[each]
        np.testing.assert_array_equal(value.const_value.numpy(), held.const_value.numpy())


def test_what_has_no_grid_is_passed_over():
    model = quantized(toys.gemm())
    twin = float_twin(model)
    nodes = len(list(twin.graph))
    assert len(list(put_on_grid(twin, model, ["nothing"]).graph)) == nodes
