"""The plugin and its algorithm keep the contracts."""

import fewbits_equalization.plugin
import pytest
from fewbits.testing import AlgorithmContract, PluginContract
from fewbits_equalization.algorithm import Equalization, EqualizationOptions


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits_equalization.plugin


class TestTwoStep(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return Equalization(EqualizationOptions(mode="two_step"))


class TestOneStep(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return Equalization(EqualizationOptions(mode="one_step"))


class TestDefault(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return Equalization()


class TestExactClips(AlgorithmContract):
    toys = ("conv_chain", "depthwise", "concat")

    @pytest.fixture
    def algorithm(self):
        return Equalization(EqualizationOptions(clip="exact"))


class TestNoClips(AlgorithmContract):
    toys = ("conv_chain", "depthwise", "concat")

    @pytest.fixture
    def algorithm(self):
        return Equalization(EqualizationOptions(clip="off"))


class TestRelus(AlgorithmContract):
    toys = ("conv_chain", "depthwise", "concat")

    @pytest.fixture
    def algorithm(self):
        return Equalization(EqualizationOptions(clip="relu"))


class TestPerTensor(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return Equalization(EqualizationOptions(weights="per_tensor"))


class TestBoundByPreActivations(AlgorithmContract):
    toys = ("conv_chain", "depthwise", "residual")

    @pytest.fixture
    def algorithm(self):
        return Equalization(EqualizationOptions(mode="two_step", pre_activation=True))
