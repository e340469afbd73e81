"""The runner with components of this file, so that nothing but the runner is tested."""

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest
from fewbits import archive, runner
from fewbits.component import Component
from fewbits.data import ArrayDataset
from fewbits.errors import DataError, FewbitsError, PluginError, RecipeError, UsageError
from fewbits.hookspecs import hookimpl
from fewbits.interfaces import Algorithm, Quantizer, Result, Target, TargetSpec
from fewbits.model import Encoding, Precision, Stage
from fewbits.options import Options
from fewbits.plugins import Registry
from fewbits.provenance import LayerNote, Report
from fewbits.recipe import Recipe, parse_step
from fewbits.replaying import replay
from fewbits.testing.toys import calibration, conv_chain
from pydantic import Field


def with_first_weight(model, change):
    """Return a copy whose first 4-d weight went through `change`."""
    model = model.copy()
    weights = model.graph.initializers.items()
    name, value = next((n, v) for n, v in weights if len(v.shape) == 4)
    array = np.asarray(change(value.const_value.numpy()), np.float32)
    value.const_value = ir.Tensor(array, name=name)
    return model


class ScaleOptions(Options):
    factor: float = Field(2.0, gt=0, description="What to multiply by.")
    note: str | None = Field(None, description="A word.")


class Scale(Algorithm):
    name = "scale"
    Options = ScaleOptions

    def apply(self, model, context):
        factor = self.options.factor
        changed = factor != 1.0
        out = with_first_weight(model, lambda w: w * factor) if changed else model
        note = LayerNote("first", "scaled", values={"factor": np.float32(factor)})
        return Result(out, Report(changed, "scaled", (note,), {"shape": (1, 2)}))


class Noise(Algorithm):
    name = "noise"

    def apply(self, model, context):
        context.progress("noise", 1, 1, "layers")
        drawn = context.rng.normal(size=4)
        out = with_first_weight(model, lambda w: w + drawn[0])
        return Result(out, Report(True, metrics={"drawn": drawn}))


class Uniform(Quantizer):
    name = "uniform"

    def apply(self, model, context):
        peak = 0.0
        for batch in context.need_calibration("uniform").batches(context.batch_size):
            peak = max(peak, *(float(np.abs(x).max()) for x in batch.inputs.values()))
        encoding = Encoding(8, False, np.float32(peak / 255), np.asarray(0, np.int64))
        out = model.copy().advance(
            Stage.QUANTIZED,
            encodings={"image": encoding},
            precisions={"conv": Precision(8, 8)},
        )
        return Result(out, Report(True, "quantized"))


class Tune(Algorithm):
    name = "tune"
    stage = Stage.QUANTIZED

    def apply(self, model, context):
        return Result(with_first_weight(model, lambda w: w + 1), Report(True))


class Fails(Algorithm):
    name = "fails"

    def apply(self, model, context):
        raise KeyboardInterrupt


class Breaks(Algorithm):
    name = "breaks"

    def apply(self, model, context):
        return 1 / 0


class Spoils(Algorithm):
    name = "spoils"

    def apply(self, model, context):
        model.graph[0].name = "spoiled"
        return Result(with_first_weight(model, lambda w: w + 1), Report(True))


class Boasts(Algorithm):
    name = "boasts"

    def apply(self, model, context):
        return Result(model.copy(), Report(True))


class Hides(Algorithm):
    name = "hides"

    def apply(self, model, context):
        return Result(with_first_weight(model, lambda w: w + 1), Report(False))


class Forgets(Algorithm):
    name = "forgets"

    def apply(self, model, context):
        return model


class Cuts(Algorithm):
    name = "cuts"

    def apply(self, model, context):
        out = model.copy()
        out.graph.outputs[0].name = "renamed"
        return Result(out, Report(True))


class Babbles(Algorithm):
    name = "babbles"

    def apply(self, model, context):
        out = with_first_weight(model, lambda w: w + 1)
        return Result(out, Report(True, metrics={"thing": object()}))


class Leaps(Algorithm):
    name = "leaps"

    def apply(self, model, context):
        return Result(model.copy().advance(Stage.COMPILED), Report(True))


class Board(Target):
    name = "board"
    spec = TargetSpec(frozenset({Precision(8, 8)}))
    suffix = ".bin"

    def check(self, model):
        return []

    def emulator(self, model, threads=None):
        raise NotImplementedError

    def compile(self, model):
        return archive.digest(model).encode()


ALGORITHMS = (Scale, Noise, Tune, Fails, Breaks, Spoils, Boasts, Hides, Forgets, Cuts, Babbles)


class Plugin:
    @hookimpl
    def algorithms(self):
        return [component("algorithm", cls) for cls in (*ALGORITHMS, Leaps)]

    @hookimpl
    def quantizers(self):
        return [component("quantizer", Uniform)]

    @hookimpl
    def targets(self):
        return [component("target", Board)]


class Diary:
    """Writes down every event."""

    def __init__(self):
        self.events = []

    @hookimpl
    def before_step(self, step, index, total, model):
        self.events.append(("before", str(step), index, total, model.stage))

    @hookimpl
    def after_step(self, step, index, total, model, record):
        self.events.append(("after", record.use, index, total, model.stage))

    @hookimpl
    def progress(self, label, done, total, unit):
        self.events.append((label, done, total, unit))


def component(kind, cls):
    return Component(kind, cls.name, f"the {cls.name}", f"{__name__}:{cls.__name__}")


@pytest.fixture
def registry():
    found = Registry()
    found.register(Plugin(), "ours")
    return found


@pytest.fixture
def diary(registry):
    found = Diary()
    registry.register(found, "diary")
    return found


def recipe(*texts):
    return Recipe(tuple(parse_step(text) for text in texts))


@pytest.fixture
def go(registry):
    """Return a function that runs steps on a toy network."""

    def call(*texts, model=None, **options):
        start = conv_chain() if model is None else model
        options = {"calibration": calibration(start, 16), **options}
        return runner.run(start, recipe(*texts), registry=registry, target="board", **options)

    return call


def fault(call, *arguments, kind=FewbitsError, **options):
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    assert caught.value.hint
    return caught.value


def test_a_chain_runs_in_order_and_writes_everything_down(go):
    start = conv_chain()
    out = go("scale:factor=3", "quantize", "tune", model=start, seed=7)
    assert out.stage is Stage.QUANTIZED
    assert [r.use for r in out.history] == ["scale", "uniform", "tune"]
    first, second, third = out.history
    assert first.options == {"factor": 3.0, "note": None}
    assert first.input_digest == archive.digest(start)
    assert first.output_digest == second.input_digest
    assert second.output_digest == third.input_digest
    assert third.output_digest == archive.digest(out)
    assert {r.seed for r in out.history} == {7}
    assert {r.target for r in out.history} == {"board"}
    assert second.data == {**calibration(start, 16).describe(), "batch_size": 8}
    assert first.report.layers[0].values == {"factor": 3.0}
    assert first.report.metrics == {"shape": [1, 2]}
    assert all(r.seconds > 0 for r in out.history)


def test_each_finished_stage_stays_as_an_ancestor(go):
    start = conv_chain()
    out = go("scale", "scale", "quantize", "tune", model=start)
    assert [m.stage for m in out.ancestors] == [Stage.PARSED, Stage.OPTIMIZED]
    assert archive.digest(out.at(Stage.PARSED)) == archive.digest(start)
    assert out.history[1].output_digest == archive.digest(out.at(Stage.OPTIMIZED))
    assert [len(m.history) for m in (*out.ancestors, out)] == [0, 2, 4]


def test_the_input_is_untouched_and_new_weights_are_read_only(go):
    start = conv_chain()
    before = archive.digest(start)
    out = go("scale", model=start)
    assert archive.digest(start) == before
    assert (start.stage, start.history) == (Stage.PARSED, ())
    for value in out.graph.initializers.values():
        assert not value.const_value.numpy().flags.writeable


def test_a_step_that_changes_nothing_still_takes_the_model_on(go):
    out = go("scale:factor=1")
    assert out.stage is Stage.OPTIMIZED
    assert not out.history[0].report.changed
    assert archive.content(out) == archive.content(conv_chain())


def test_events_tell_what_happens(go, diary):
    go("noise", "quantize")
    assert diary.events == [
        ("before", "noise", 0, 2, "parsed"),
        ("noise", 1, 1, "layers"),
        ("after", "noise", 0, 2, "optimized"),
        ("before", "uniform", 1, 2, "optimized"),
        ("after", "uniform", 1, 2, "quantized"),
    ]


def test_events_show_the_resolved_options(go, diary):
    go("scale")
    assert diary.events[0][1] == "scale:factor=2.0"


def drawn(model, occurrence=0):
    found = [r.report.metrics["drawn"] for r in model.history if r.use == "noise"]
    return found[occurrence]


def test_chance_depends_on_the_seed_and_on_nothing_else_outside(go):
    assert drawn(go("noise", seed=1)) == drawn(go("noise", seed=1))
    assert drawn(go("noise", seed=1)) != drawn(go("noise", seed=2))
    assert drawn(go("scale", "noise")) == drawn(go("noise"))
    twice = go("noise", "noise")
    assert drawn(twice, 0) != drawn(twice, 1)


def test_two_runs_after_each_other_draw_as_one_run_does(go):
    apart = go("noise", model=go("noise"))
    assert archive.digest(apart) == archive.digest(go("noise", "noise"))


def test_the_same_run_gives_the_same_archive(go, tmp_path):
    for name in "ab":
        archive.write(go("noise", "scale:factor=1.5", "quantize"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("texts", "words", "hint"),
    [
        ((), "no steps", "quantize"),
        (("skale",), "'skale'", "Did you mean 'scale'?"),
        (("quantise",), "'quantise'", "Did you mean 'quantize'?"),
        (("quantize:quantizer=uniforn",), "'uniforn'", "Did you mean 'uniform'?"),
        (("scale:facto=2",), "'facto'", "Did you mean 'factor'?"),
        (("scale:factor=-1",), "'factor'", ""),
        (("scale", "scale:factor=x"), "'factor'", ""),
        (("quantize", "scale"), "'scale' works in full precision", "before the quantizer"),
        (("quantize", "uniform"), "already quantized", "one quantizer"),
        (("tune",), "not quantized yet", "Put 'quantize' before it"),
        (("tune", "quantize"), "not quantized yet", "Put 'quantize' before it"),
    ],
)
def test_a_recipe_is_checked_as_a_whole_before_anything_runs(go, diary, texts, words, hint):
    error = fault(go, *texts, kind=RecipeError)
    assert words in error.message
    assert hint in error.hint
    assert diary.events == []


def test_missing_calibration_is_said_before_anything_runs(go, diary):
    error = fault(go, "scale", "quantize", kind=DataError, calibration=None)
    assert "'uniform' needs calibration data" in error.message
    assert diary.events == []
    assert go("scale", calibration=None).history[0].data == {}


def test_a_quantized_model_takes_steps_for_quantized_models_only(go):
    quantized = go("quantize")
    assert [r.use for r in go("tune", model=quantized).history] == ["uniform", "tune"]
    for step in ("quantize", "scale"):
        assert "--restart" in fault(go, step, model=quantized).hint
    assert "--restart" not in fault(go, "quantize", "scale").hint


def test_a_compiled_model_takes_no_steps(go):
    compiled = go("quantize").advance(Stage.COMPILED)
    assert "after compilation" in fault(go, "tune", model=compiled).message


def test_a_negative_seed_is_refused(go):
    assert "-1" in fault(go, "scale", seed=-1, kind=UsageError).message


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("spoils", "changed the model that it was given"),
        ("boasts", "says that it changed the model, and it did not"),
        ("hides", "says that it changed nothing, and it did"),
        ("forgets", "returned Model, not a Result"),
        ("cuts", "changed the network's inputs or outputs"),
        ("babbles", "cannot be written down"),
        ("leaps", "returned a model that is compiled"),
    ],
)
def test_a_step_that_breaks_its_contract_is_named(go, step, words):
    error = fault(go, step, kind=PluginError)
    assert words in error.message
    assert f"'{step}'" in error.message


def test_a_bug_in_a_step_keeps_its_traceback_and_gets_a_note(go):
    with pytest.raises(ZeroDivisionError) as caught:
        go("breaks")
    assert "In step 'breaks'" in caught.value.__notes__[0]


def test_the_checkpoint_holds_each_finished_step_and_survives_an_interruption(go, tmp_path):
    path = tmp_path / "c"
    with pytest.raises(KeyboardInterrupt):
        go("noise", "scale", "fails", checkpoint=path)
    assert [r.use for r in archive.read(path).history] == ["noise", "scale"]
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    runner.discard(path)
    assert not path.exists()


def interrupted(go, path, **options):
    """Leave the checkpoint of a run of two steps of which the second was interrupted."""
    with pytest.raises(KeyboardInterrupt):
        go("noise", "fails", checkpoint=path, **options)
    return path


def test_resuming_does_the_rest_only_and_ends_as_if_nothing_had_happened(go, diary, tmp_path):
    path = interrupted(go, tmp_path / "c")
    diary.events.clear()
    steps = ("noise", "noise", "quantize")
    out = go(*steps, checkpoint=path, resume=True)
    before = [event[1:3] for event in diary.events if event[0] == "before"]
    assert before == [("noise", 1), ("uniform", 2)]
    assert archive.digest(out) == archive.digest(go(*steps))
    assert len(out.history) == 3


def test_resuming_works_on_a_model_that_has_a_past(go, tmp_path):
    start = go("scale")
    path = interrupted(go, tmp_path / "c", model=start)
    out = go("noise", "quantize", model=start, checkpoint=path, resume=True)
    assert archive.digest(out) == archive.digest(go("scale", "noise", "quantize"))


def test_resuming_a_finished_run_runs_nothing(go, diary, tmp_path):
    done = go("noise", checkpoint=tmp_path / "c")
    diary.events.clear()
    again = go("noise", checkpoint=tmp_path / "c", resume=True)
    assert archive.digest(again) == archive.digest(done)
    assert diary.events == []


def test_resuming_without_a_checkpoint_begins(go, tmp_path):
    assert len(go("noise", checkpoint=tmp_path / "c", resume=True).history) == 1


@pytest.mark.parametrize(
    ("steps", "options", "words"),
    [
        (("scale", "quantize"), {}, "step 1 had name 'noise', and now it is 'scale'"),
        (("noise", "quantize"), {"seed": 5}, "step 1 had seed 0, and now it is 5"),
        (("noise",), {"calibration": None}, "calibration digest"),
        (("noise",), {"calibration": calibration(conv_chain(), 8)}, "calibration digest"),
        (("noise",), {"batch_size": 4}, "batch size 8, and now it is 4"),
    ],
)
def test_resuming_another_run_says_what_differs(go, tmp_path, steps, options, words):
    path = interrupted(go, tmp_path / "c")
    error = fault(go, *steps, checkpoint=path, resume=True, kind=RecipeError, **options)
    assert words in error.message
    assert "--resume" in error.hint


def test_resuming_with_other_options_or_another_model_is_refused(go, tmp_path):
    path = tmp_path / "c"
    go("scale:factor=3", checkpoint=path)
    error = fault(go, "scale:factor=4", checkpoint=path, resume=True)
    assert "had options" in error.message
    other = with_first_weight(conv_chain(), lambda w: w + 1)
    error = fault(go, "scale:factor=3", checkpoint=path, resume=True, model=other)
    assert "started from another model" in error.message
    error = fault(go, "scale", checkpoint=path, resume=True, model=go("noise"))
    assert "started from another model" in error.message


def test_a_longer_checkpoint_than_the_recipe_is_another_run(go, tmp_path):
    go("scale", "noise", checkpoint=tmp_path / "c")
    error = fault(go, "scale", checkpoint=tmp_path / "c", resume=True)
    assert "2 steps" in error.message


def replayed(model, registry, **options):
    options = {"calibration": calibration(model, 16), **options}
    return replay(model, registry=registry, **options)


def test_a_replay_gives_the_same_digests(go, registry, tmp_path):
    archive.write(go("noise", "scale", "quantize", "tune", seed=4, batch_size=3), tmp_path / "m")
    results = replayed(archive.read(tmp_path / "m"), registry)
    assert [r.use for r in results] == ["noise", "scale", "uniform", "tune"]
    assert all(r.same and r.actual == r.expected and not r.note for r in results)


def test_a_replay_shows_where_a_step_gives_something_else(go, registry, monkeypatch):
    model = go("noise", "scale", "quantize")
    monkeypatch.setattr(Scale, "apply", Tune.apply)
    results = replayed(model, registry)
    assert [r.same for r in results] == [True, False, False]
    assert [r.note for r in results] == ["", "", "it got another input than then"]


def test_a_replay_names_another_version_and_a_missing_plugin(go, registry):
    model = go("noise", "scale")
    older = dataclasses.replace(model.history[0], distribution="fewbits-x", version="0.9")
    result = replayed(model.replace(history=(older, model.history[1])), registry)[0]
    assert result.same
    assert "fewbits-x 0.9" in result.note
    gone = dataclasses.replace(model.history[0], use="vanished")
    results = replayed(model.replace(history=(gone, model.history[1])), registry)
    assert [r.actual for r in results] == ["", ""]
    assert "'vanished'" in results[0].note
    assert "because 'vanished' could not be" in results[1].note


def test_a_replay_asks_for_data_that_was_given_in_memory_and_refuses_other_data(go, registry):
    model = go("quantize")
    assert "memory" in fault(replay, model, registry=registry, kind=DataError).message
    other = ArrayDataset({"image": np.zeros((4, 3, 12, 12), np.float32)})
    error = fault(replayed, model, registry, calibration=other, kind=DataError)
    assert "digests differ" in error.message


def test_check_needs_no_data_and_runs_nothing(registry, diary):
    runner.check(conv_chain(), recipe("scale", "quantize"), registry)
    with pytest.raises(DataError):
        runner.check(conv_chain(), recipe("quantize"), registry, calibrated=False)
    assert diary.events == []


def test_a_target_can_be_given_as_an_object(registry):
    out = runner.run(conv_chain(), recipe("scale"), registry=registry, target=Board())
    assert out.history[0].target == "board"
