"""Targets that each break one rule; `test_testing_kit.py` sees the contract catch them."""

from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pytest
from fewbits.builtin.cpu import CpuTarget
from fewbits.interfaces import Finding, Runnable
from fewbits.model import Stage
from fewbits.testing import (
    TargetContract,
)


class TargetFaults(TargetContract):
    toys = ("gemm",)
    Fault: ClassVar[type[CpuTarget]]
    caught: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    def target(self):
        return self.Fault()


class TestTargetSound(TargetFaults):
    Fault = CpuTarget


class TestTargetContradictsItself(TargetFaults):
    caught = ("test_spec_makes_sense",)

    class Fault(CpuTarget):
        suffix = "onnx"


class TestTargetGivesNoRemedy(TargetFaults):
    caught = ("test_check_says_what_is_wrong_and_what_helps",)

    class Fault(CpuTarget):
        def check(self, model):
            return [Finding("gemm_0", "too large", "", fatal=False)]


class TestTargetCompilesWhatItRefuses(TargetFaults):
    caught = ("test_compile_agrees_with_check",)

    class Fault(CpuTarget):
        def check(self, model):
            quantized = model.stage is Stage.QUANTIZED
            return [Finding("gemm_0", "too large", "make it smaller")] if quantized else []


class TestTargetCompilesByChance(TargetFaults):
    caught = ("test_compile_gives_the_same_bytes_and_leaves_the_model_alone",)

    class Fault(CpuTarget):
        def compile(self, model, calibration=None):
            network = self._network(model)
            network.doc_string = str(np.random.default_rng().integers(2**62))
            return ir.to_proto(network).SerializeToString()


class TestTargetEmulatesSomethingElse(TargetFaults):
    caught = (
        "test_emulator_computes_what_the_compiled_file_computes",
        "test_emulator_shows_inner_tensors_when_they_are_made_outputs",
    )

    class Fault(CpuTarget):
        def emulator(self, model, threads=None):
            return Shifted(super().emulator(model, threads))


class TestTargetHidesInnerTensors(TargetFaults):
    caught = ("test_emulator_shows_inner_tensors_when_they_are_made_outputs",)

    class Fault(CpuTarget):
        def emulator(self, model, threads=None):
            return Only(super().emulator(model, threads), model.at(Stage.PARSED).output_names)


class TestTargetEmulatesOneSampleOnly(TargetFaults):
    caught = (
        "test_emulator_computes_what_the_compiled_file_computes",
        "test_emulator_takes_any_number_of_samples",
    )

    class Fault(CpuTarget):
        def emulator(self, model, threads=None):
            return First(super().emulator(model, threads))


class TestTargetCompilesFloat(TargetFaults):
    caught = ("test_model_that_is_not_quantized_is_refused",)

    class Fault(CpuTarget):
        def compile(self, model, calibration=None):
            if model.stage is Stage.PARSED:
                return ir.to_proto(model.network).SerializeToString()
            return super().compile(model)


class Wrapped(Runnable):
    def __init__(self, inner):
        self.inner = inner


class Shifted(Wrapped):
    def run(self, inputs):
        return {name: array + 1 for name, array in self.inner.run(inputs).items()}


class First(Wrapped):
    def run(self, inputs):
        return {name: array[:1] for name, array in self.inner.run(inputs).items()}


class Only(Wrapped):
    def __init__(self, inner, names):
        super().__init__(inner)
        self.names = names

    def run(self, inputs):
        seen = self.inner.run(inputs)
        return {name: seen[name] for name in self.names}
