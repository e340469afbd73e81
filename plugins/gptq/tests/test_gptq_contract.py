"""The plugin and its algorithm keep their contracts."""

import fewbits_gptq.plugin
import pytest
from fewbits.testing import AlgorithmContract, PluginContract
from fewbits_gptq.algorithm import Gptq
from fewbits_gptq.options import GptqOptions


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits_gptq.plugin


class TestGptq(AlgorithmContract):
    @pytest.fixture
    def algorithm(self):
        return Gptq()


class TestPlainGptq(AlgorithmContract):
    toys = ("depthwise", "gemm", "matmul", "conv_transpose", "shared_weights")

    @pytest.fixture
    def algorithm(self):
        options = GptqOptions(
            asymmetric=False, act_order=False, scales="keep", refine=0, bias_correction=False
        )
        return Gptq(options)


class TestFewBitsOnly(AlgorithmContract):
    toys = ("residual", "gemm")

    @pytest.fixture
    def algorithm(self):
        return Gptq(GptqOptions(bits=4, samples=8))
