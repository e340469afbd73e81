"""The plugin keeps the contracts, and its algorithm does what it says."""

import fewbits_example_plugin.plugin
import numpy as np
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.graph import constant, layers
from fewbits.interfaces import Context
from fewbits.testing import AlgorithmContract, PluginContract, toys
from fewbits_example_plugin.algorithm import ClipWeights, ClipWeightsOptions, clip


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits_example_plugin.plugin


class TestAlgorithm(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return ClipWeights(ClipWeightsOptions(sigmas=2.0))


def test_only_what_lies_outside_the_bound_is_clipped():
    weight = np.array([[6.0, 0.0], [-1.0, 1.0]], np.float32)
    sigma = np.sqrt((36 + 1 + 1) / 4)
    clipped, count = clip(weight, 1.5)
    assert count == 1
    assert clipped == pytest.approx(np.array([[1.5 * sigma, 0.0], [-1.0, 1.0]]))


def test_report_counts_what_changed():
    model = toys.conv_chain()
    result = ClipWeights(ClipWeightsOptions(sigmas=1.0)).apply(model, Context(CpuTarget()))
    counted = {note.layer: note.values["clipped"] for note in result.report.layers}
    for before, after in zip(layers(model.graph), layers(result.model.graph), strict=True):
        changed = int((constant(before.weight) != constant(after.weight)).sum())
        assert counted[before.name] == changed > 0


def test_without_outliers_nothing_changes():
    result = ClipWeights(ClipWeightsOptions(sigmas=100.0)).apply(
        toys.conv_chain(), Context(CpuTarget())
    )
    assert result.report.changed is False
    assert all(note.action == "skipped" for note in result.report.layers)
