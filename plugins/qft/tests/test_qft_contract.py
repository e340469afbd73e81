"""The plugin and its algorithm keep the contracts."""

import fewbits_qft.plugin
import pytest
from fewbits.testing import AlgorithmContract, PluginContract
from fewbits_qft.algorithm import Qft, QftOptions


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits_qft.plugin


class TestAlgorithm(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        pytest.importorskip("torch")
        return Qft(QftOptions(epochs=1, dataset_size=16, batch_size=8, val_images=8))
