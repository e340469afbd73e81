"""The built-in components keep the contracts that third parties' components keep."""

import fewbits.builtin.plugin
import onnx_ir as ir
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.evaluators import Classification, Fidelity
from fewbits.builtin.onnx_frontend import OnnxFrontend
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.testing import (
    EvaluatorContract,
    FrontendContract,
    PluginContract,
    QuantizerContract,
    TargetContract,
    toys,
)


class TestPlugin(PluginContract):
    @pytest.fixture
    def plugin(self):
        return fewbits.builtin.plugin


class TestOnnxFrontend(FrontendContract):
    @pytest.fixture
    def frontend(self):
        return OnnxFrontend()

    @pytest.fixture
    def model_file(self, tmp_path):
        path = tmp_path / "residual.onnx"
        ir.save(toys.residual().network, path)
        return path


class TestUniformQuantizer(QuantizerContract):
    @pytest.fixture
    def quantizer(self):
        return UniformQuantizer()


class TestUniformQuantizerWithOptions(QuantizerContract):
    toys = ("conv_chain", "depthwise", "concat", "se_block", "gemm", "conv_transpose", "matmul")
    minimum_snr = 8.0

    @pytest.fixture(
        params=[
            {"precision": "a8_w4", "activation_range": "percentile"},
            {"precision": "a16_w8", "weight_range": "mse"},
            {"precision": "a16_w16", "weights": "per_tensor"},
            {"activation_range": "mse", "layers": {"*_0": "a8_w4"}},
            {"activation_range": "entropy", "bias_correction": False},
        ],
        ids=str,
    )
    def quantizer(self, request):
        return UniformQuantizer(UniformOptions(**request.param))


class TestCpuTarget(TargetContract):
    @pytest.fixture
    def target(self):
        return CpuTarget()


class TestFidelity(EvaluatorContract):
    @pytest.fixture
    def evaluator(self):
        return Fidelity()


class TestClassification(EvaluatorContract):
    @pytest.fixture
    def evaluator(self):
        return Classification()
