"""The plugin and its algorithms keep the contracts."""

import fewbits_clipping.plugin
import pytest
from fewbits.testing import AlgorithmContract, PluginContract
from fewbits_clipping.activations import ActivationClipping, ActivationClippingOptions
from fewbits_clipping.weights import WeightClipping, WeightClippingOptions


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits_clipping.plugin


class TestActivationClipping(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return ActivationClipping(
            ActivationClippingOptions(mode="percentile_force", clipping_values=(2, 98))
        )


class TestWeightClipping(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return WeightClipping(WeightClippingOptions(mode="mmse", bits=4))
