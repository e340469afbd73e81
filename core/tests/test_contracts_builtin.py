"""The built-in components keep the contracts that third parties' components keep."""

import fewbits.builtin.plugin
import numpy as np
import onnx_ir as ir
import pytest
from fewbits.builtin.arrays import ArrayReader
from fewbits.builtin.cpu import CpuTarget
from fewbits.builtin.evaluators import Classification, Fidelity
from fewbits.builtin.images import ImageReader
from fewbits.builtin.onnx_frontend import OnnxFrontend
from fewbits.builtin.uniform import UniformOptions, UniformQuantizer
from fewbits.data import InputSpec, Request
from fewbits.preprocess import Preprocess
from fewbits.testing import (
    DatasetReaderContract,
    EvaluatorContract,
    FrontendContract,
    PluginContract,
    QuantizerContract,
    TargetContract,
    toys,
)
from PIL import Image


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
    toys = ("depthwise", "concat", "gemm", "conv_transpose")
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


class TestArrayReader(DatasetReaderContract):
    @pytest.fixture
    def reader(self):
        return ArrayReader()

    @pytest.fixture
    def wanted(self, tmp_path):
        path = tmp_path / "samples.npy"
        np.save(path, np.random.default_rng(0).normal(size=(5, 3, 4, 4)).astype(np.float32))
        return Request(str(path), (InputSpec("image", (None, 3, 4, 4), np.dtype(np.float32)),))


class TestImageReader(DatasetReaderContract):
    @pytest.fixture
    def reader(self):
        return ImageReader()

    @pytest.fixture
    def wanted(self, tmp_path):
        rng = np.random.default_rng(0)
        for number in range(5):
            folder = tmp_path / "images" / f"class_{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (6, 7, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
        inputs = (InputSpec("image", (None, 3, 4, 4), np.dtype(np.float32)),)
        return Request(str(tmp_path / "images"), inputs, Preprocess(resize=5, crop=4))
