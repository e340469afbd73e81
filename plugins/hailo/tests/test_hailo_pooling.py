"""Averages over whole maps, taken in two pools."""

import numpy as np
import pytest
from fewbits.errors import RecipeError
from fewbits.interfaces import Context
from fewbits.levels import level
from fewbits.runtime import Session
from fewbits.testing import AlgorithmContract
from fewbits.testing.net import Net
from fewbits_hailo.pooling import AvgpoolReduction, AvgpoolReductionOptions
from fewbits_hailo.script.reader import read_text


def network(rows=12, columns=8):
    net = Net("pools")
    x = net.conv(net.input("image", 3, rows, columns), 3, 4)
    gate = net.op("Sigmoid", net.conv(net.op("GlobalAveragePool", x, name="squeeze"), 4, 4, 1))
    net.output(net.op("GlobalAveragePool", net.op("Mul", x, gate), name="last"), 4, 1, 1)
    return net.build()


def divided(model, **options):
    step = AvgpoolReduction(AvgpoolReductionOptions(**options))
    return step.apply(model, Context(target=None))


class TestStep(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return AvgpoolReduction(AvgpoolReductionOptions(division_factors=(2, 2)))


def test_the_mean_is_that_of_equal_windows():
    model = network()
    result = divided(model, division_factors=(3, 2))
    assert result.report.metrics == {"pools": 2, "divided": 2}
    ops = [node.op_type for node in result.model.graph]
    assert ops.count("AveragePool") == ops.count("GlobalAveragePool") == 2
    first = result.model.graph.node("squeeze.windows")
    assert list(first.attributes["kernel_shape"].as_ints()) == [4, 4]
    assert list(first.outputs[0].shape)[1:] == [4, 3, 2]
    x = {"image": np.random.default_rng(0).normal(size=(2, 3, 12, 8)).astype(np.float32)}
    (old,), (new,) = (Session(m.network).run(x).values() for m in (model, result.model))
    assert np.allclose(old, new, atol=1e-6)


def test_single_pools_are_named():
    result = divided(network(), division_factors=(3, 2), layers=("last",))
    assert [note.layer for note in result.report.layers] == ["last"]
    assert result.report.metrics["divided"] == 1


def test_a_map_that_does_not_divide_is_an_error_if_named_and_else_stands_in_the_report():
    with pytest.raises(RecipeError, match="'last' averages is 12×8 and does not divide by 5×2"):
        divided(network(), division_factors=(5, 2), layers=("last",))
    result = divided(network(), division_factors=(5, 2))
    assert not result.report.changed
    assert {note.action for note in result.report.layers} == {"kept"}
    same = divided(network(), division_factors=(12, 8))
    assert {note.reason for note in same.report.layers} == {"its map is as small already"}


def test_a_name_that_is_no_pool_is_an_error():
    with pytest.raises(RecipeError, match="no layer matches 'conv_0'"):
        divided(network(), division_factors=(2, 2), layers=("conv_0",))


def test_factors_are_at_least_one():
    with pytest.raises(ValueError, match="at least 1"):
        AvgpoolReductionOptions(division_factors=(0, 1))


def test_a_script_asks_for_it():
    line = "pre_quantization_optimization(global_avgpool_reduction, {}division_factors=[3, 2])"
    every = read_text(line.format(""), network()).adapt(level(0).recipe)
    assert every.steps[1].options == {"division_factors": [3, 2]}
    one = read_text(line.format("layers=avgpool2, "), network()).adapt(level(0).recipe)
    assert one.steps[1].options == {"division_factors": [3, 2], "layers": ["last"]}
    off = line.format("policy=disabled, ")
    uses = [step.use for step in read_text(off, network()).adapt(level(0).recipe).steps]
    assert uses == ["hailo_script", "equalization", "quantize"]
    with pytest.raises(RecipeError, match="conv1 is no average over a whole map"):
        read_text(line.format("layers=conv1, "), network())
