"""The plugin and its algorithm keep the contracts."""

import fewbits_adaround.plugin
import pytest
from fewbits.testing import AlgorithmContract, PluginContract
from fewbits_adaround.algorithm import AdaRound
from fewbits_adaround.options import AdaRoundOptions


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits_adaround.plugin


class TestAdaRound(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        pytest.importorskip("torch")
        return AdaRound(AdaRoundOptions(mode="train_all", epochs=10, columns=256))


class TestLeftAlone(AlgorithmContract):
    """The contract quantizes to 8 bits, and 4 are asked for."""

    toys = ("conv_chain", "gemm")

    @pytest.fixture
    def algorithm(self):
        pytest.importorskip("torch")
        return AdaRound()
