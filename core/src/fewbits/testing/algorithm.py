"""The contract of algorithms."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from fewbits.archive import content, digest
from fewbits.errors import DataError
from fewbits.graph import constant, layers, set_constant
from fewbits.interfaces import Algorithm, Configurable, Quantizer, Result, Target
from fewbits.model import Model, Stage
from fewbits.numerics import fake_quantize
from fewbits.provenance import Report
from fewbits.testing import toys
from fewbits.testing.component import ComponentContract
from fewbits.testing.inspection import (
    assert_valid,
    contents,
    context,
    float_outputs,
    interface,
    layer_state,
    relative_difference,
    weights,
    writeable,
)

Arrays = Mapping[str, NDArray[Any]]
Told = tuple[str, int, int | None, str]


@dataclass(frozen=True)
class Outcome:
    """One run of an algorithm.

    Args:
        given: the model that went in.
        contents: what that model held before.
        result: what came out.
        told: the progress that was reported: label, done, total, unit.
    """

    given: Model
    contents: dict[str, str]
    result: Result
    told: tuple[Told, ...] = ()

    @property
    def model(self) -> Model:
        """The model that came out."""
        return self.result.model

    @property
    def report(self) -> Report:
        """The account that came with it."""
        return self.result.report


class AlgorithmContract(ComponentContract):
    """What every algorithm promises, tried on every toy network.

    Subclass it, name the subclass `Test…`, and give the fixture `algorithm`::

        class TestClipWeights(AlgorithmContract):
            @pytest.fixture
            def algorithm(self):
                return ClipWeights()

    Narrow `toys` when the algorithm is for some networks only, and test yourself that it refuses
    the others with a FewbitsError; give the fixture `target` when it is for another target.
    """

    #: Names of the toy networks it is tried on.
    toys: ClassVar[Sequence[str]] = tuple(toys.TOYS)

    @pytest.fixture
    def algorithm(self) -> Algorithm:
        """Return the algorithm under test; the subclass gives it."""
        raise NotImplementedError("give the fixture `algorithm`")

    @pytest.fixture
    def component(self, algorithm: Algorithm) -> Configurable:
        """Return the algorithm, for the tests of its options."""
        return algorithm

    @pytest.fixture
    def target(self) -> Target:
        """Return the target that the algorithm works for."""
        from fewbits.builtin.cpu import CpuTarget

        return CpuTarget()

    @pytest.fixture
    def outcome(
        self, algorithm: Algorithm, target: Target, toy: str, memo: dict[str, Outcome]
    ) -> Outcome:
        """Return what the algorithm made of the toy."""
        key = f"{toy} {algorithm.options!r} {target.name}"
        if key not in memo:
            memo[key] = apply(algorithm, prepare(algorithm, toys.TOYS[toy](), target), target)
        return memo[key]

    def undone(self, algorithm: Algorithm, inputs: Arrays) -> Arrays:
        """Return what the network took before, where the edited one takes `inputs`.

        Override it for an algorithm that edits inputs.
        """
        return inputs

    def edited(self, algorithm: Algorithm, outputs: Arrays) -> Arrays:
        """Return what the edited network gives, where it gave `outputs` before.

        Override it for an algorithm that edits outputs.
        """
        return outputs

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test that asks for a `toy` on all of them."""
        if "toy" in metafunc.fixturenames:
            metafunc.parametrize("toy", self.toys)

    def test_input_model_is_untouched(self, outcome: Outcome) -> None:
        assert contents(outcome.given) == outcome.contents
        assert writeable(outcome.given) == []

    def test_same_seed_gives_the_same_bytes(
        self, algorithm: Algorithm, target: Target, outcome: Outcome
    ) -> None:
        again = apply(type(algorithm)(algorithm.options), outcome.given, target)
        assert contents(again.model) == contents(outcome.model)
        assert digest(again.model) == digest(outcome.model)
        assert _plain(again.report) == _plain(outcome.report)

    def test_changed_is_honest(self, outcome: Outcome) -> None:
        differs = content(outcome.model) != content(outcome.given)
        assert outcome.report.changed is differs

    def test_weights_of_the_result_are_read_only(self, outcome: Outcome) -> None:
        assert writeable(outcome.model) == [], "fewbits.graph.set_constant sees to it"

    def test_graph_is_still_valid(self, outcome: Outcome) -> None:
        assert_valid(outcome.model)

    def test_inputs_and_outputs_are_kept(self, algorithm: Algorithm, outcome: Outcome) -> None:
        was, now = interface(outcome.given), interface(outcome.model)
        edited = {"inputs": "input", "outputs": "output"}.get(algorithm.edits, "")
        assert list(now) == list(was), "names stay, whatever a step edits"
        for name, (role, shape, dtype) in was.items():
            assert role == edited or now[name] == (role, shape, dtype), name

    def test_stage_and_history_are_kept_in_order(
        self, algorithm: Algorithm, outcome: Outcome
    ) -> None:
        given, model = outcome.given, outcome.model
        assert model.stage is algorithm.stage, "return model.advance(self.stage, …)"
        past = given.ancestors if given.stage is model.stage else (*given.ancestors, given)
        assert [m.stage for m in model.ancestors] == [m.stage for m in past]
        for kept, was in zip(model.ancestors, past, strict=True):
            assert contents(kept) == contents(was), "advance the model given, not the new one"
        assert model.history == given.history, "the runner writes the history"
        if algorithm.edits != "inputs":
            assert model.preprocess == given.preprocess

    def test_report_can_be_written_down(self, outcome: Outcome) -> None:
        json.dumps(_plain(outcome.report), allow_nan=False)
        assert outcome.report.summary, "say in one sentence what was done"
        assert "\n" not in outcome.report.summary

    def test_report_names_layers_that_exist(self, outcome: Outcome) -> None:
        known = {node.name for m in (outcome.given, outcome.model) for node in m.graph}
        unknown = [n.layer for n in outcome.report.layers if n.layer not in known]
        assert not unknown

    def test_report_says_why_a_layer_was_left_alone(self, outcome: Outcome) -> None:
        left = [n.layer for n in outcome.report.layers if not n.reason and _same(outcome, n.layer)]
        assert not left, "these layers did not change, and the report gives no reason"

    def test_progress_is_told_in_order(self, outcome: Outcome) -> None:
        done_before: dict[str, int] = {}
        for label, done, total, unit in outcome.told:
            assert label, "name what is being done"
            assert unit, "name what is counted"
            assert done == 0 or done >= done_before.get(label, 0), label
            assert total is None or done <= total, label
            done_before[label] = done

    def test_quantized_weights_lie_on_their_grids(self, outcome: Outcome) -> None:
        held, encodings = weights(outcome.model), outcome.model.encodings
        off = [
            name
            for name in held.keys() & encodings.keys()
            if not np.array_equal(fake_quantize(held[name], encodings[name]), held[name])
        ]
        assert not off, "rounding these again changes them"

    def test_masked_weights_stay_zero(self, algorithm: Algorithm, target: Target, toy: str) -> None:
        given = prepare(algorithm, masked(toys.TOYS[toy]()), target)
        model = apply(algorithm, given, target).model
        held = weights(model)
        lost = [name for name in given.masks if name in held and name not in model.masks]
        assert not lost, "the result must carry the masks on"
        for name, mask in model.masks.items():
            assert not held[name][~mask].any(), f"pruned weights of {name} came back"

    def test_float_outputs_stay_within_the_promise(
        self, algorithm: Algorithm, target: Target
    ) -> None:
        tolerance = algorithm.float_tolerance
        if tolerance is None:
            pytest.skip(f"{algorithm.name} promises nothing about the float outputs")
        for toy in self.toys:
            given = prepare(algorithm, toys.TOYS[toy](), target)
            model = apply(algorithm, given, target).model
            inputs = toys.calibration(model, 8, seed=1).inputs
            before = self.edited(algorithm, float_outputs(given, self.undone(algorithm, inputs)))
            after = float_outputs(model, inputs)
            worst = max(relative_difference(before[name], after[name]) for name in before)
            assert worst <= tolerance, toy

    def test_need_for_calibration_is_declared(self, algorithm: Algorithm, target: Target) -> None:
        given = prepare(algorithm, toys.TOYS[self.toys[0]](), target)
        run = partial(algorithm.apply, given, context(target, None))
        if not algorithm.needs_calibration:
            assert isinstance(run(), Result)
            return
        with pytest.raises(DataError) as caught:
            run()
        assert caught.value.hint, "context.need_calibration(self.name) says it well"


def prepare(algorithm: Algorithm, model: Model, target: Target) -> Model:
    """Bring a parsed model to where the algorithm starts: quantized, for a pass after that."""
    if isinstance(algorithm, Quantizer) or algorithm.stage is not Stage.QUANTIZED:
        return model
    from fewbits.builtin.uniform import UniformQuantizer

    return apply(UniformQuantizer(), model, target).model


def apply(algorithm: Algorithm, model: Model, target: Target) -> Outcome:
    """Run `algorithm` on `model` with 32 samples, a fresh generator and one thread."""
    before, told = contents(model), list[Told]()
    recording = replace(
        context(target, toys.calibration(model)), progress=lambda *event: told.append(event)
    )
    return Outcome(model, before, algorithm.apply(model, recording), tuple(told))


def masked(model: Model, seed: int = 0) -> Model:
    """Return the model with half of every layer's weight at zero, and masks that keep it so."""
    rng = np.random.default_rng(seed)
    result = model.copy()
    masks = {}
    for value in {layer.weight.name: layer.weight for layer in layers(result.graph)}.values():
        array = constant(value)
        assert array is not None
        mask = rng.random(array.shape) < 0.5
        set_constant(value, np.where(mask, array, np.zeros((), array.dtype)))
        masks[str(value.name)] = mask
    return result.replace(masks=masks)


def _same(outcome: Outcome, layer: str) -> bool:
    before = layer_state(outcome.given, layer)
    return before is not None and before == layer_state(outcome.model, layer)


def _plain(report: Report) -> dict[str, object]:
    layers = [[n.layer, n.action, n.reason, dict(n.values)] for n in report.layers]
    return {"summary": report.summary, "layers": layers, "metrics": dict(report.metrics)}
