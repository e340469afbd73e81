"""The built-in components keep the contracts that third parties' components keep."""

import fewbits.builtin.plugin
import onnx_ir as ir
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.evaluators import Classification, Fidelity
from fewbits.builtin.onnx_frontend import OnnxFrontend
from fewbits.builtin.uniform import UniformQuantizer
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
