"""Frontends that each break one rule; `test_testing_kit.py` sees the contract catch them."""

from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pytest
from fewbits.builtin.onnx_frontend import OnnxFrontend
from fewbits.model import Stage
from fewbits.testing import (
    FrontendContract,
    toys,
)


class FrontendFaults(FrontendContract):
    Fault: ClassVar[type[OnnxFrontend]]
    caught: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    def frontend(self):
        return self.Fault()

    @pytest.fixture
    def model_file(self, tmp_path):
        path = tmp_path / "gemm.onnx"
        ir.save(toys.gemm().network, path)
        return path


class TestFrontendSound(FrontendFaults):
    Fault = OnnxFrontend


class TestFrontendClaimsNoSuffix(FrontendFaults):
    caught = ("test_suffixes_are_file_endings",)

    class Fault(OnnxFrontend):
        suffixes = (".pb",)


class TestFrontendNamesByChance(FrontendFaults):
    caught = ("test_parsing_twice_gives_the_same_model",)

    class Fault(OnnxFrontend):
        def parse(self, path):
            model = super().parse(path)
            for node in model.graph:
                node.name = f"{node.op_type}_{np.random.default_rng().integers(2**62)}"
            return model


class TestFrontendWritesBesideTheFile(FrontendFaults):
    caught = ("test_file_is_left_alone",)

    class Fault(OnnxFrontend):
        def parse(self, path):
            path.with_suffix(".cache").touch()
            return super().parse(path)


class TestFrontendSkipsAStage(FrontendFaults):
    caught = ("test_model_is_fresh",)

    class Fault(OnnxFrontend):
        def parse(self, path):
            return super().parse(path).advance(Stage.OPTIMIZED)


class TestFrontendLeavesNodesUnnamed(FrontendFaults):
    caught = ("test_graph_is_valid_and_every_node_has_its_own_name",)

    class Fault(OnnxFrontend):
        def parse(self, path):
            model = super().parse(path)
            next(iter(model.graph)).name = ""
            return model


class TestFrontendLeavesWeightsWriteable(FrontendFaults):
    caught = ("test_constants_are_read_only_initializers",)

    class Fault(OnnxFrontend):
        def parse(self, path):
            model = super().parse(path)
            for name, value in model.graph.initializers.items():
                value.const_value = ir.Tensor(value.const_value.numpy().copy(), name=name)
            return model


class TestFrontendForgetsShapes(FrontendFaults):
    caught = ("test_opset_is_one_and_shapes_are_known",)

    class Fault(OnnxFrontend):
        def parse(self, path):
            model = super().parse(path)
            next(iter(model.graph)).outputs[0].shape = None
            return model


class TestFrontendLetsErrorsThrough(FrontendFaults):
    caught = ("test_what_is_no_model_is_refused",)

    class Fault(OnnxFrontend):
        def parse(self, path):
            path.read_bytes()
            return super().parse(path)
