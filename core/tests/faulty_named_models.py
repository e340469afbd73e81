"""Named models that each break one rule; `test_testing_kit.py` sees the contract catch them."""

import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pytest
from fewbits.interfaces import ModelInfo, NamedModel, silent
from fewbits.recipe import Recipe, parse_step
from fewbits.testing import NamedModelContract, toys


class Sound(NamedModel):
    name = "sound"

    def __init__(self, folder):
        self.folder = folder
        model = toys.gemm()
        ir.save(model.network, folder / "gemm.onnx")
        shape = [d if isinstance(d, int) else 1 for d in model.graph.inputs[0].shape]
        samples = np.random.default_rng(0).normal(size=(4, *shape[1:])).astype(np.float32)
        np.save(folder / "calib.npy", samples)
        np.savez(folder / "eval.npz", images=samples, labels=np.zeros(4, np.int64))

    def network(self, progress=silent):
        return self.folder / "gemm.onnx"

    def preprocess(self):
        return None

    def calibration(self):
        return str(self.folder / "calib.npy")

    def evaluation(self):
        return f"{self.folder / 'eval.npz'}#images"

    def evaluators(self):
        return ["classification"]

    def recipe(self):
        return Recipe((parse_step("quantize:precision=a8_w8"),))

    def info(self):
        return ModelInfo(task="toy", metric="top-1", full_precision=25.0)


class NamedFaults(NamedModelContract):
    Fault: ClassVar[type[NamedModel]]
    caught: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    def named(self, tmp_path):
        return self.Fault(tmp_path)


class TestNamedSound(NamedFaults):
    Fault = Sound


class TestNamedFetchesAnew(NamedFaults):
    caught = ("test_network_lies_where_it_lay",)

    class Fault(Sound):
        def network(self, progress=silent):
            copy = Path(tempfile.mkdtemp(dir=self.folder)) / "gemm.onnx"
            copy.write_bytes(super().network().read_bytes())
            return copy


class TestNamedCalibratesOnNothing(NamedFaults):
    caught = ("test_calibration_samples_fit_the_network",)

    class Fault(Sound):
        def calibration(self):
            return str(self.folder / "gone.npy")


class TestNamedMeasuresWithAnUnknown(NamedFaults):
    caught = ("test_it_can_be_measured_as_it_says",)

    class Fault(Sound):
        def evaluators(self):
            return ["clasification"]


class TestNamedMeasuresWhereItCalibrates(NamedFaults):
    caught = ("test_samples_to_measure_on_are_others_than_those_to_calibrate",)

    class Fault(Sound):
        def calibration(self):
            return self.evaluation()


class TestNamedSuitsAnUnknownStep(NamedFaults):
    caught = ("test_recipe_can_run",)

    class Fault(Sound):
        def recipe(self):
            return Recipe((parse_step("quantise"),))


class TestNamedFigureOfNothing(NamedFaults):
    caught = ("test_info_is_one_line_each_and_a_figure_says_of_what",)

    class Fault(Sound):
        def info(self):
            return ModelInfo(full_precision=25.0)
