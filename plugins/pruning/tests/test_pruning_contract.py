"""The plugin and its algorithms keep the contracts."""

import fewbits_pruning.plugin
import pytest
from fewbits.testing import AlgorithmContract, PluginContract
from fewbits_pruning.algorithm import Pruning, PruningOptions
from fewbits_pruning.dead import DeadChannels
from fewbits_pruning.static import StaticChannels


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits_pruning.plugin


class TestObs(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return Pruning()


class TestPattern(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return Pruning(PruningOptions(pattern="2:4"))


class TestMagnitude(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return Pruning(PruningOptions(method="magnitude", bias_correction=False))


class TestDeadChannels(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return DeadChannels()


class TestStaticChannels(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return StaticChannels()
