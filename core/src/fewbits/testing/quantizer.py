"""The contract of quantizers: an algorithm's, and what a quantized model must hold besides."""

from typing import ClassVar

import numpy as np
import pytest

from fewbits.graph import layers
from fewbits.interfaces import Algorithm, Quantizer, Target
from fewbits.numerics import fake_quantize
from fewbits.testing import toys
from fewbits.testing.algorithm import AlgorithmContract, Outcome
from fewbits.testing.inspection import float_outputs, snr_db, weights


class QuantizerContract(AlgorithmContract):
    """What every quantizer promises. Give the fixture `quantizer`."""

    #: Least signal-to-noise ratio in dB of each output against the float model.
    minimum_snr: ClassVar[float] = 15.0

    @pytest.fixture
    def quantizer(self) -> Quantizer:
        """Return the quantizer under test, at 8 bits; the subclass gives it."""
        raise NotImplementedError("give the fixture `quantizer`")

    @pytest.fixture
    def algorithm(self, quantizer: Quantizer) -> Algorithm:
        """Return the quantizer, for the tests that every algorithm passes."""
        return quantizer

    def test_every_layer_has_a_precision_that_the_target_runs_or_a_reason(
        self, outcome: Outcome, target: Target
    ) -> None:
        assert set(outcome.model.precisions.values()) <= target.spec.precisions
        found = {layer.name for layer in layers(outcome.model.graph)}
        left = {note.layer for note in outcome.report.layers if note.reason}
        assert found <= set(outcome.model.precisions) | left

    def test_encodings_have_the_bits_of_their_layers(
        self, outcome: Outcome, target: Target
    ) -> None:
        model, spec = outcome.model, target.spec
        bits = {name: encoding.bits for name, encoding in model.encodings.items()}
        rest = dict(bits)
        for layer in layers(model.graph):
            for value in filter(None, (layer.weight, layer.bias)):
                rest.pop(str(value.name), None)
            if layer.name in model.precisions:
                precision = model.precisions[layer.name]
                assert bits[str(layer.weight.name)] == precision.weight_bits, layer.name
                bias = bits.get(str(layer.bias.name)) if layer.bias else None
                widths = (precision.activation_bits, bits.get(str(layer.input.name), 8))
                narrow = max(widths) == 8
                assert bias is None or bias == spec.bias_bits or not narrow, layer.name
        known = {b for p in spec.precisions for b in (p.activation_bits, p.weight_bits)}
        known |= {spec.wide_bits}
        wrong = {name: width for name, width in rest.items() if width not in known}
        assert not wrong, "the target has no such integers"

    def test_encodings_name_tensors_of_the_graph(self, outcome: Outcome) -> None:
        graph = outcome.model.graph
        known = {v.name for v in graph.inputs} | set(graph.initializers)
        known |= {v.name for node in graph for v in node.outputs}
        assert set(outcome.model.encodings) <= known

    def test_scales_are_positive_and_zero_points_in_range(self, outcome: Outcome) -> None:
        for name, encoding in outcome.model.encodings.items():
            scale, zero_point = np.asarray(encoding.scale), np.asarray(encoding.zero_point)
            assert np.isfinite(scale).all(), name
            assert (scale > 0).all(), name
            assert scale.shape == zero_point.shape, name
            assert (zero_point >= encoding.qmin).all(), name
            assert (zero_point <= encoding.qmax).all(), name

    def test_zero_is_represented_exactly(self, outcome: Outcome) -> None:
        constants = weights(outcome.model)
        for name, encoding in outcome.model.encodings.items():
            if name not in constants:
                assert fake_quantize(np.zeros(1, np.float32), encoding) == 0, name

    def test_emulated_outputs_are_near_the_float_ones(
        self, outcome: Outcome, target: Target
    ) -> None:
        inputs = toys.calibration(outcome.given, 16, seed=1).inputs
        before = float_outputs(outcome.given, inputs)
        after = target.emulator(outcome.model, threads=1).run(inputs)
        assert {n: a.shape for n, a in after.items()} == {n: a.shape for n, a in before.items()}
        for name, reference in before.items():
            assert snr_db(reference, after[name]) >= self.minimum_snr, name
