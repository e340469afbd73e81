"""Algorithms that each break one rule; `test_testing_kit.py` sees the contract catch them.

The name of a class below says what is wrong with its algorithm; `Sound` has no Fault.
"""

from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pytest
from fewbits.graph import constant, layers, set_constant
from fewbits.interfaces import Algorithm, Result
from fewbits.model import Stage
from fewbits.options import Options
from fewbits.provenance import LayerNote, Report
from fewbits.testing import AlgorithmContract
from pydantic import Field


class NegateOptions(Options):
    first: int = Field(0, description="The first layer that is negated.")


class Negate(Algorithm):
    """Negates every weight: simple, real, and sound."""

    name = "negate"
    Options = NegateOptions

    def apply(self, model, context):
        network, notes = model.copy().network, []
        for layer in layers(network.graph):
            set_constant(layer.weight, self.change(constant(layer.weight), context))
            notes.append(LayerNote(layer.name, "negated"))
        report = Report(True, "Negated every weight.", tuple(notes))
        return self.finish(model, network, report)

    def change(self, weight, context):
        return -weight

    def finish(self, model, network, report):
        return Result(model.advance(self.stage, network=network), report)


class Contract(AlgorithmContract):
    toys = ("gemm",)
    Fault: ClassVar[type[Algorithm]]
    caught: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    def algorithm(self):
        return self.Fault()


class TestSound(Contract):
    Fault = Negate


class ZeroBiases(Algorithm):
    """Sets every bias of a quantized model to zero: sound, and it keeps to the grid."""

    name = "zero-biases"
    stage = Stage.QUANTIZED
    value = 0.0

    def apply(self, model, context):
        network = model.copy().network
        notes = []
        for layer in layers(network.graph):
            set_constant(layer.bias, np.full_like(constant(layer.bias), self.value))
            notes.append(LayerNote(layer.name, "zeroed"))
        report = Report(True, "Zeroed every bias.", tuple(notes))
        return Result(model.advance(self.stage, network=network), report)


class TestSoundAfterQuantization(Contract):
    Fault = ZeroBiases


class TestLeavesTheGridAfterQuantization(Contract):
    caught = ("test_quantized_weights_lie_on_their_grids",)

    class Fault(ZeroBiases):
        value = 0.0123456


class TestCountsBackwards(Contract):
    caught = ("test_progress_is_told_in_order",)

    class Fault(Negate):
        def apply(self, model, context):
            for done in (1, 3, 2):
                context.progress("negate", done, 3, "layers")
            return super().apply(model, context)


class TestSpoilsItsInput(Contract):
    caught = (
        "test_input_model_is_untouched",
        "test_same_seed_gives_the_same_bytes",
    )

    class Fault(Negate):
        def finish(self, model, network, report):
            for layer in layers(model.graph):
                set_constant(layer.weight, constant(layer.weight) * 0.5)
            return super().finish(model, network, report)


class TestForgetsTheSeed(Contract):
    caught = ("test_same_seed_gives_the_same_bytes",)

    class Fault(Negate):
        def change(self, weight, context):
            return -weight * np.float32(np.random.default_rng().uniform(0.5, 1))


class TestHidesAChange(Contract):
    caught = ("test_changed_is_honest",)

    class Fault(Negate):
        def finish(self, model, network, report):
            return super().finish(model, network, Report(False, "Nothing.", report.layers))


class TestClaimsAChange(Contract):
    caught = ("test_changed_is_honest",)

    class Fault(Negate):
        def apply(self, model, context):
            return Result(model.advance(self.stage), Report(True, "Improved everything."))


class TestLeavesWeightsWriteable(Contract):
    caught = ("test_weights_of_the_result_are_read_only",)

    class Fault(Negate):
        def finish(self, model, network, report):
            for layer in layers(network.graph):
                held = constant(layer.weight).copy()
                layer.weight.const_value = ir.Tensor(held, name=layer.weight.name)
            return super().finish(model, network, report)


class TestBreaksTheGraph(Contract):
    caught = ("test_graph_is_still_valid",)

    class Fault(Negate):
        def finish(self, model, network, report):
            next(iter(network.graph)).op_type = "NoSuchOp"
            return super().finish(model, network, report)


class TestNamesTwoNodesAlike(Contract):
    caught = ("test_graph_is_still_valid",)

    class Fault(Negate):
        def finish(self, model, network, report):
            first, second, *_ = network.graph
            second.name = first.name
            return super().finish(model, network, report)


class TestRenamesAnOutput(Contract):
    caught = ("test_inputs_and_outputs_are_kept",)

    class Fault(Negate):
        def finish(self, model, network, report):
            network.graph.outputs[0].name = "renamed"
            return super().finish(model, network, report)


class TestStaysAtItsStage(Contract):
    caught = ("test_stage_and_history_are_kept_in_order",)

    class Fault(Negate):
        def finish(self, model, network, report):
            return Result(model.replace(network=network), report)


class TestForgesThePast(Contract):
    caught = ("test_stage_and_history_are_kept_in_order",)

    class Fault(Negate):
        def finish(self, model, network, report):
            return Result(model.replace(network=network).advance(self.stage), report)


class TestReportsWhatJsonCannotHold(Contract):
    caught = ("test_report_can_be_written_down",)

    class Fault(Negate):
        def finish(self, model, network, report):
            metrics = {"largest": np.float32(1)}
            return super().finish(model, network, Report(True, "Done.", (), metrics))


class TestReportsALayerThatIsNotThere(Contract):
    caught = ("test_report_names_layers_that_exist",)

    class Fault(Negate):
        def finish(self, model, network, report):
            ghost = LayerNote("ghost", "negated")
            return super().finish(model, network, Report(True, "Done.", (ghost,)))


class TestSkipsWithoutAReason(Contract):
    caught = ("test_report_says_why_a_layer_was_left_alone",)

    class Fault(Negate):
        def change(self, weight, context):
            return weight if weight.shape[0] == 5 else -weight


class TestDropsTheMasks(Contract):
    caught = ("test_masked_weights_stay_zero",)

    class Fault(Negate):
        def finish(self, model, network, report):
            return Result(model.advance(self.stage, network=network, masks={}), report)


class TestRevivesPrunedWeights(Contract):
    caught = ("test_masked_weights_stay_zero",)

    class Fault(Negate):
        def change(self, weight, context):
            return weight + np.float32(0.1)


class TestBreaksItsPromise(Contract):
    caught = ("test_float_outputs_stay_within_the_promise",)

    class Fault(Negate):
        float_tolerance = 1e-3


class TestHidesItsNeed(Contract):
    caught = ("test_need_for_calibration_is_declared",)

    class Fault(Negate):
        def apply(self, model, context):
            context.need_calibration(self.name)
            return super().apply(model, context)


class TestClaimsANeed(Contract):
    caught = ("test_need_for_calibration_is_declared",)

    class Fault(Negate):
        needs_calibration = True


class TestForgetsThePreprocessing(Contract):
    caught = (
        "test_changed_is_honest",
        "test_same_seed_gives_the_same_bytes",
        "test_stage_and_history_are_kept_in_order",
    )

    class Fault(Negate):
        stage = Stage.OPTIMIZED

        def finish(self, model, network, report):
            changed = model.advance(self.stage, network=network, preprocess="gone")
            return Result(changed, report)
