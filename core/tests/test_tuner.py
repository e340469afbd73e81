"""Tuning with steps and a device of this file's own, whose SNR is known beforehand."""

import math

import fewbits
import numpy as np
import pytest
from fewbits import archive
from fewbits.attempts import grid
from fewbits.component import Component
from fewbits.data import ArrayDataset
from fewbits.errors import DataError, RecipeError, UsageError
from fewbits.execution import Setting
from fewbits.hookspecs import hookimpl
from fewbits.interfaces import Algorithm, Quantizer, Result, Runnable, Target, TargetSpec
from fewbits.model import Encoding, Precision, Stage
from fewbits.options import Options
from fewbits.plugins import Registry
from fewbits.provenance import Report
from fewbits.runtime import Session
from fewbits.series import Remembering
from fewbits.testing.toys import calibration, conv_chain, gemm
from fewbits.tuning import NothingFitsError
from pydantic import Field

#: step behind the quantizer → dB that it gains at four bits throughout.
GAIN = {"": 0.0, "ibc": 4.0, "qft": 12.0}


def expected_snr(share, last):
    """What the device's noise comes to: 40 dB at 8 bits, 20 less with every weight at 4."""
    return 40 - 20 * share + GAIN[last] * share


class Rounds(Options):
    precision: str = Field("a8_w8", description="Bits.")
    ratio_4bit: float = Field(0.0, description="Share at 4 bits.")


class Fake(Quantizer):
    """Gives the first weights 4 bits, as many as the ratio says; changes no value."""

    Options = Rounds

    def apply(self, model, context):
        share = 1.0 if self.options.precision == "a8_w4" else self.options.ratio_4bit
        names = list(model.graph.initializers)
        four = round(share * len(names))
        zero = np.asarray(0, np.int64)
        encodings = {
            name: Encoding(4 if i < four else 8, True, np.float32(1), zero)
            for i, name in enumerate(names)
        }
        out = model.copy().advance(Stage.QUANTIZED, encodings=encodings)
        return Result(out, Report(True, metrics={"share": share}))


class Uniform(Fake):
    name = "uniform"


class MixedPrecision(Fake):
    name = "mixed_precision"


class Equalization(Algorithm):
    name = "equalization"

    def apply(self, model, context):
        return Result(model, Report(False))


class Behind(Algorithm):
    stage = Stage.QUANTIZED

    def apply(self, model, context):
        return Result(model, Report(False))


class Ibc(Behind):
    name = "ibc"


class Gptq(Behind):
    name = "gptq"


class Training(Options):
    epochs: int = Field(1, description="How often.")
    dataset_size: int = Field(8, description="How many images.")


class Qft(Behind):
    name = "qft"
    Options = Training


class Noisy(Runnable):
    """The float network's outputs, too large by a share: the SNR is −20·log10(share)."""

    def __init__(self, model):
        self.session = Session(model.at(Stage.PARSED).network)
        shares = [r.report.metrics["share"] for r in model.history if r.report.metrics]
        last = next((r.use for r in reversed(model.history) if r.use in GAIN), "")
        self.factor = 1 + 10 ** (-expected_snr(shares[0], last) / 20)

    def run(self, inputs):
        return {name: self.factor * y for name, y in self.session.run(inputs).items()}


class Board(Target):
    name = "board"
    spec = TargetSpec(frozenset({Precision(8, 8), Precision(8, 4)}))
    suffix = ".bin"

    def check(self, model):
        return []

    def emulator(self, model, threads=None):
        return Noisy(model)

    def compile(self, model, calibration=None):
        raise NotImplementedError


class Coarse(Board):
    name = "coarse"
    spec = TargetSpec(frozenset({Precision(8, 8)}))


STEPS = (Equalization, Ibc, Gptq, Qft)


def own(kind, cls):
    return Component(kind, cls.name, cls.name, f"{__name__}:{cls.__name__}")


class Plugin:
    def __init__(self, steps):
        self.steps = steps

    @hookimpl
    def algorithms(self):
        return [own("algorithm", cls) for cls in self.steps]

    @hookimpl
    def quantizers(self):
        return [own("quantizer", cls) for cls in (Uniform, MixedPrecision)]

    @hookimpl
    def targets(self):
        return [own("target", cls) for cls in (Board, Coarse)]

    @hookimpl
    def evaluators(self):
        return [
            Component("evaluator", name.lower(), name, f"fewbits.builtin.evaluators:{name}")
            for name in ("Fidelity", "Classification")
        ]


class Counter:
    """Counts which steps ran."""

    def __init__(self):
        self.ran = []

    @hookimpl
    def before_step(self, step):
        self.ran.append(step.use)


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr("fewbits.needs.find_spec", lambda name: object())
    found = Registry()
    found.register(Plugin(STEPS), "ours")
    return found


@pytest.fixture
def counter(registry):
    found = Counter()
    registry.register(found, "counter")
    return found


@pytest.fixture
def tune(registry):
    """Return a function that tunes a toy with 1024 samples for calibration."""

    def call(*, model=None, images=1024, **options):
        start = model or gemm()
        data = calibration(start, images)
        options = {"target": "board", "registry": registry, **options}
        return fewbits.tune(start, data, options.pop("data", calibration(start, 8, 1)), **options)

    return call


@pytest.mark.parametrize("floor", [41, 36, 33.5, 31, 29, 25, 21, 19])
def test_the_winner_is_the_one_that_the_device_s_noise_calls_for(tune, floor):
    lasts = {0: "", 1: "ibc", 2: "qft"}
    fitting = [
        (c, -o) for o, last in lasts.items() for c in range(6) if expected_snr(c / 5, last) >= floor
    ]
    if not fitting:
        with pytest.raises(NothingFitsError, match="has 40 dB"):
            tune(min_snr=floor)
        return
    compression, optimization = max(fitting)
    found = tune(min_snr=floor)
    assert (found.best.optimization, found.best.compression) == (-optimization, compression)
    wanted = expected_snr(compression / 5, lasts[-optimization])
    assert found.best.value == pytest.approx(wanted, abs=1e-3)
    assert found.best.weight_bytes == min(t.weight_bytes for t in found.trials if t.within)


def test_steps_in_common_run_once(tune, counter):
    found = tune(min_snr=27)
    tried = [(t.optimization, t.compression) for t in found.trials]
    assert tried == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 4), (1, 5), (2, 5)]
    assert counter.ran.count("equalization") == 1
    assert counter.ran.count("uniform") + counter.ran.count("mixed_precision") == 6


def test_the_model_is_what_its_recipe_alone_gives(tune, registry):
    found = tune(min_snr=27)
    start = gemm()
    alone = fewbits.optimize(
        start,
        calibration=calibration(start, 1024),
        recipe=found.recipe,
        target="board",
        registry=registry,
    )
    assert archive.digest(found.model) == archive.digest(alone) == found.best.digest
    digests = [[r.output_digest for r in m.history] for m in (found.model, alone)]
    assert digests[0] == digests[1]


def test_the_history_says_that_it_was_chosen_and_on_what(tune, tmp_path):
    found = tune(min_snr=27)
    for record in found.model.history:
        assert record.level["tuned"]["goal"] == "snr_db at least 27 dB"
        assert record.level["tuned"]["images"] == 8
    held = fewbits.load(fewbits.save(found.model, tmp_path / "m.fewbits"))
    assert held.history[-1].level == found.model.history[-1].level


def test_a_drop_is_measured_against_full_precision_with_labels(tune):
    model = gemm()
    samples = calibration(model, 8, 1)
    labels = np.zeros(8, np.int64)
    found = tune(max_drop=0.0, data=ArrayDataset(samples.inputs, labels))
    assert found.best.compression == 5, "a common factor changes no ranking"
    assert found.best.drop == 0
    assert "snr_db" in found.best.metrics["fidelity"]
    assert found.best.metrics["classification"]["top1"] == found.best.value


def test_which_goal_is_meant_must_be_clear(tune, registry):
    for options in ({}, {"max_drop": 1.0, "min_snr": 20.0}):
        with pytest.raises(UsageError, match="one goal"):
            tune(**options)
    with pytest.raises(UsageError, match="needs labels") as caught:
        tune(max_drop=0.5)
    assert "--min-snr" in caught.value.hint
    with pytest.raises(UsageError, match="another evaluator"):
        tune(min_snr=20, evaluator="classification")
    with pytest.raises(UsageError, match="nothing drops"):
        tune(max_drop=1, evaluator="fidelity")
    with pytest.raises(RecipeError, match="already quantized"):
        tune(min_snr=20, model=conv_chain().advance(Stage.QUANTIZED))
    with pytest.raises(DataError):
        tune(min_snr=20, data="/nowhere")


def test_levels_that_cannot_run_are_left_out_and_named(tune):
    found = tune(min_snr=27, images=16)
    assert max(t.optimization for t in found.trials) == 1
    (said,) = found.left_out
    assert said.startswith("Optimization level 2 is not tried: ")
    assert "1024 calibration images" in said
    with pytest.raises(RecipeError, match="1024") as caught:
        tune(min_snr=27, images=16, optimization_levels=[0, 2])
    assert "--calib-path" in caught.value.hint


def test_a_device_without_four_bits_is_not_asked_for_them(tune):
    found = tune(min_snr=20, target="coarse")
    assert [t.compression for t in found.trials] == [0]
    assert len(found.left_out) == 5
    with pytest.raises(RecipeError, match="no precision mode a8_w4"):
        tune(min_snr=20, target="coarse", compression_levels=[5])


def test_nothing_to_try_is_an_error(monkeypatch):
    registry = Registry()
    registry.register(Plugin((Ibc,)), "ours")
    setting = Setting(registry, Board(), calibration(gemm(), 8))
    with pytest.raises(RecipeError, match="No level can be tried"):
        grid(gemm(), setting)


def test_a_trial_that_raises_stands_in_the_table(tune, monkeypatch):
    def fail(self, model, context):
        raise RecipeError("The backbone was not found.", hint="Name it.")

    monkeypatch.setattr(Ibc, "apply", fail)
    found = tune(min_snr=27)
    (failed,) = [t for t in found.trials if t.fault]
    assert failed.fault == "The backbone was not found. Name it."
    assert (failed.optimization, failed.within) == (1, False)
    assert math.isnan(failed.value)


def test_an_interrupted_search_goes_on_where_it_stopped(tune, counter, tmp_path):
    checkpoint = tmp_path / "best.tune"
    seen = []

    def stop(trial):
        seen.append(trial)
        if len(seen) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(min_snr=27, checkpoint=checkpoint, watch=stop)
    assert fewbits.load(checkpoint).stage is Stage.QUANTIZED
    ran = len(counter.ran)
    again = tune(min_snr=27, checkpoint=checkpoint, resume=True)
    whole = tune(min_snr=27)
    assert again.trials[:4] == tuple(seen)
    assert [t.digest for t in again.trials] == [t.digest for t in whole.trials]
    assert archive.digest(again.model) == archive.digest(whole.model)
    resumed = len(counter.ran) - ran
    assert resumed > 0
    with pytest.raises(RecipeError, match="seed was 0"):
        tune(min_snr=27, checkpoint=checkpoint, resume=True, seed=1)


def test_a_goal_may_be_moved_without_trying_again(tune, counter, tmp_path):
    checkpoint = tmp_path / "best.tune"
    with pytest.raises(NothingFitsError):
        tune(min_snr=50, checkpoint=checkpoint, compression_levels=[0, 5])
    ran = counter.ran.count("equalization")
    found = tune(min_snr=39, checkpoint=checkpoint, compression_levels=[0, 5], resume=True)
    assert found.best.compression == 0
    assert found.model.stage is Stage.QUANTIZED
    assert counter.ran.count("equalization") == ran + 1, "once for the first new trial"


def test_time_that_is_over_ends_the_search_with_the_best_so_far(tune):
    found = tune(min_snr=20, time_limit=0.0)
    assert (len(found.trials), found.complete) == (1, False)


def test_an_answer_is_remembered_while_memory_lasts():
    class Counted(Runnable):
        calls = 0

        def run(self, inputs):
            self.calls += 1
            return {"y": inputs["x"] * 2}

    batches = [{"x": np.full((2, 4), i, np.float32)} for i in range(3)]
    for limit, calls in ((1 << 20, 3), (64, 4), (0, 6)):
        inner = Counted()
        remembering = Remembering(inner, limit)
        for _ in range(2):
            for batch in batches:
                np.testing.assert_array_equal(remembering.run(batch)["y"], 2 * batch["x"])
        assert inner.calls == calls
