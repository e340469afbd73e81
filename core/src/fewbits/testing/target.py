"""The contract of targets."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from fewbits.errors import TargetError
from fewbits.graph import layers
from fewbits.interfaces import Configurable, Finding, Quantizer, Target
from fewbits.model import Model, Precision
from fewbits.noise import shown
from fewbits.numerics import fake_quantize
from fewbits.runtime import Session
from fewbits.testing import toys
from fewbits.testing.algorithm import apply
from fewbits.testing.component import ComponentContract
from fewbits.testing.inspection import contents


class TargetContract(ComponentContract):
    """What every target promises, tried on every toy network. Give the fixture `target`.

    Narrow `toys` to what the target can run. Override `run_compiled` unless the compiled file is
    an ONNX file that plain ONNX Runtime runs.
    """

    #: Names of the toy networks it is tried on.
    toys: ClassVar[Sequence[str]] = tuple(toys.TOYS)

    @pytest.fixture
    def target(self) -> Target:
        """Return the target under test; the subclass gives it."""
        raise NotImplementedError("give the fixture `target`")

    @pytest.fixture
    def component(self, target: Target) -> Configurable:
        """Return the target, for the tests of its options."""
        return target

    @pytest.fixture
    def quantizer(self) -> Quantizer:
        """Return the quantizer that prepares models for the target."""
        from fewbits.builtin.uniform import UniformQuantizer

        return UniformQuantizer()

    @pytest.fixture
    def quantized(
        self, target: Target, quantizer: Quantizer, toy: str, memo: dict[str, Model]
    ) -> Model:
        """Return the toy, quantized for the target."""
        key = f"{toy} {target.options!r} {quantizer.options!r}"
        if key not in memo:
            memo[key] = apply(quantizer, toys.TOYS[toy](), target).model
        return memo[key]

    def compiled(self, target: Target, quantized: Model) -> bytes:
        """Return the compiled file, from the samples that the toys are calibrated on."""
        return target.compile(quantized, toys.calibration(quantized))

    def run_compiled(
        self, compiled: bytes, inputs: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]]:
        """Return what the compiled file computes; override it for what ONNX Runtime cannot run."""
        return Session(compiled, threads=1).run(inputs)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test that asks for a `toy` on all of them."""
        if "toy" in metafunc.fixturenames:
            metafunc.parametrize("toy", self.toys)

    def test_spec_makes_sense(self, target: Target) -> None:
        spec = target.spec
        assert spec.precisions, "name at least one precision mode"
        assert all(isinstance(precision, Precision) for precision in spec.precisions)
        assert spec.weights in spec.granularities
        assert spec.granularities <= {"per_channel", "per_tensor"}
        assert not spec.quantized_ops & spec.passthrough_ops, "an op is one or the other"
        assert 0 < spec.bias_bits <= 32
        assert target.suffix.startswith(".")

    def test_check_says_what_is_wrong_and_what_helps(
        self, target: Target, quantized: Model
    ) -> None:
        for finding in target.check(quantized):
            assert isinstance(finding, Finding)
            assert finding.layer
            assert finding.limit
            assert finding.remedy

    def test_compile_agrees_with_check(self, target: Target, quantized: Model) -> None:
        fatal = [finding for finding in target.check(quantized) if finding.fatal]
        if fatal:
            with pytest.raises(TargetError):
                self.compiled(target, quantized)
        else:
            assert self.compiled(target, quantized)

    def test_compile_gives_the_same_bytes_and_leaves_the_model_alone(
        self, target: Target, quantized: Model
    ) -> None:
        before = contents(quantized)
        assert self.compiled(target, quantized) == self.compiled(target, quantized)
        assert contents(quantized) == before

    def test_emulator_computes_what_the_compiled_file_computes(
        self, target: Target, quantized: Model
    ) -> None:
        inputs = toys.calibration(quantized, 8, seed=2).inputs
        emulated = target.emulator(quantized, threads=1).run(inputs)
        compiled = self.run_compiled(self.compiled(target, quantized), inputs)
        assert set(emulated) == set(compiled) == set(quantized.output_names)
        for name, array in emulated.items():
            assert np.array_equal(array, compiled[name]), name

    def test_emulator_shows_inner_tensors_when_they_are_made_outputs(
        self, target: Target, quantized: Model
    ) -> None:
        inputs = toys.calibration(quantized, 4, seed=2).inputs
        written = {str(layer.output.name) for layer in layers(quantized.graph)}
        names = sorted(written & set(quantized.encodings))
        plain = target.emulator(quantized, threads=1).run(inputs)
        seen = target.emulator(shown(quantized, names), threads=1).run(inputs)
        for name, array in plain.items():
            assert np.array_equal(seen[name], array), f"{name} changed because others are shown"
        assert set(names) <= set(seen), "return every output of the graph that was given"
        for name in names:
            on_grid = fake_quantize(seen[name], quantized.encodings[name])
            np.testing.assert_allclose(seen[name], on_grid, rtol=1e-5, err_msg=name)

    @pytest.mark.parametrize("count", [1, 3])
    def test_emulator_takes_any_number_of_samples(
        self, target: Target, quantized: Model, count: int
    ) -> None:
        inputs = toys.calibration(quantized, count, seed=2).inputs
        for name, array in target.emulator(quantized, threads=1).run(inputs).items():
            assert len(array) == count, name
            assert np.isfinite(array).all(), name

    def test_model_that_is_not_quantized_is_refused(self, target: Target) -> None:
        model = toys.TOYS[self.toys[0]]()
        with pytest.raises(TargetError) as caught:
            target.compile(model)
        assert caught.value.hint, "say that it must be quantized first"
