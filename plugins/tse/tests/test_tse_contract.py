"""The plugin and its algorithm keep the contracts."""

import fewbits_tse.plugin
import pytest
from fewbits.testing import AlgorithmContract, PluginContract
from fewbits_tse.algorithm import TiledSqueezeExcite, TseOptions


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits_tse.plugin


class TestAlgorithm(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return TiledSqueezeExcite(TseOptions(tile_height=5, threshold=-140))
