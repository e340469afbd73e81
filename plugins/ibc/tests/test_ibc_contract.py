"""The plugin and its algorithm keep their contracts."""

import fewbits_ibc.plugin
import pytest
from fewbits.testing import AlgorithmContract, PluginContract
from fewbits_ibc.algorithm import Ibc, IbcOptions


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits_ibc.plugin


class TestIbc(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return Ibc()


class TestFewSamples(AlgorithmContract):
    toys = ("residual", "gemm", "matmul", "shared_weights")

    @pytest.fixture
    def algorithm(self):
        return Ibc(IbcOptions(samples=8, snr_samples=0))


class TestDisabled(AlgorithmContract):
    toys = ("residual", "gemm")

    @pytest.fixture
    def algorithm(self):
        return Ibc(IbcOptions(policy="disabled"))
