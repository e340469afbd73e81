"""Quantizers that each break one rule; `test_testing_kit.py` sees the contract catch them."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from fewbits.builtin.uniform import UniformQuantizer
from fewbits.graph import constant, layers, set_constant
from fewbits.interfaces import Result
from fewbits.model import Precision
from fewbits.testing import (
    QuantizerContract,
)


class Quantizer(UniformQuantizer):
    """Uniform, with the result spoilt by `spoil`."""

    def apply(self, model, context):
        result = super().apply(model, context)
        return Result(self.spoil(result.model), result.report)

    def spoil(self, model):
        return model


class QuantizerFaults(QuantizerContract):
    toys = ("gemm",)
    Fault: ClassVar[type[Quantizer]]
    caught: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture
    def quantizer(self):
        return self.Fault()


class TestQuantizerSound(QuantizerFaults):
    Fault = Quantizer


class TestQuantizerLeavesTheGrid(QuantizerFaults):
    caught = ("test_quantized_weights_lie_on_their_grids",)

    class Fault(Quantizer):
        def spoil(self, model):
            new = model.copy()
            for layer in layers(new.graph):
                set_constant(layer.weight, constant(layer.weight) * np.float32(0.9987))
            return new


class TestQuantizerUsesOtherBits(QuantizerFaults):
    caught = ("test_encodings_have_the_bits_of_their_layers",)

    class Fault(Quantizer):
        def spoil(self, model):
            wider = {
                name: replace(encoding, bits=9) if encoding.bits == 8 else encoding
                for name, encoding in model.encodings.items()
            }
            return model.replace(encodings=wider)


class TestQuantizerUsesAnotherPrecision(QuantizerFaults):
    caught = ("test_every_layer_has_a_precision_that_the_target_runs_or_a_reason",)

    class Fault(Quantizer):
        def spoil(self, model):
            return model.replace(precisions=dict.fromkeys(model.precisions, Precision(4, 8)))


class TestQuantizerForgetsALayer(QuantizerFaults):
    caught = ("test_every_layer_has_a_precision_that_the_target_runs_or_a_reason",)

    class Fault(Quantizer):
        def spoil(self, model):
            return model.replace(precisions=dict(list(model.precisions.items())[1:]))


class TestQuantizerCannotSayZero(QuantizerFaults):
    caught = (
        "test_emulated_outputs_are_near_the_float_ones",
        "test_scales_are_positive_and_zero_points_in_range",
        "test_zero_is_represented_exactly",
    )

    class Fault(Quantizer):
        def spoil(self, model):
            name = first_activation(model)
            shifted = replace(model.encodings[name], zero_point=np.asarray(-7, np.int64))
            return model.replace(encodings={**model.encodings, name: shifted})


class TestQuantizerEncodesAGhost(QuantizerFaults):
    caught = ("test_encodings_name_tensors_of_the_graph",)

    class Fault(Quantizer):
        def spoil(self, model):
            ghost = model.encodings[first_activation(model)]
            return model.replace(encodings={**model.encodings, "ghost": ghost})


class TestQuantizerLosesAccuracy(QuantizerFaults):
    caught = ("test_emulated_outputs_are_near_the_float_ones",)

    class Fault(Quantizer):
        def spoil(self, model):
            new = model.copy()
            for layer in layers(new.graph):
                weight = constant(layer.weight)
                set_constant(layer.weight, np.where(weight > 0, weight, np.float32(0)))
            return new


def first_activation(model):
    return next(name for name in model.encodings if name not in model.graph.initializers)
