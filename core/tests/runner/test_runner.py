import pytest
from fewbits import archive, runner
from fewbits.errors import DataError, PluginError, RecipeError, UsageError
from fewbits.model import Stage
from fewbits.recipe import Recipe, Step
from fewbits.testing.toys import calibration, conv_chain


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
    assert second.data == {**calibration(start, 16).describe(), "batch_size": 4}
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
def test_a_recipe_is_checked_as_a_whole_before_anything_runs(go, diary, texts, words, hint, fault):
    error = fault(go, *texts, kind=RecipeError)
    assert words in error.message
    assert hint in error.hint
    assert diary.events == []


def test_missing_calibration_is_said_before_anything_runs(go, diary, fault):
    error = fault(go, "scale", "quantize", kind=DataError, calibration=None)
    assert "'uniform' needs calibration data" in error.message
    assert diary.events == []
    assert go("scale", calibration=None).history[0].data == {}


def test_a_quantized_model_takes_steps_for_quantized_models_only(go, fault):
    quantized = go("quantize")
    assert [r.use for r in go("tune", model=quantized).history] == ["uniform", "tune"]
    for step in ("quantize", "scale"):
        assert "--restart" in fault(go, step, model=quantized).hint
    assert "--restart" not in fault(go, "quantize", "scale").hint


def test_a_compiled_model_takes_no_steps(go, fault):
    compiled = go("quantize").advance(Stage.COMPILED)
    assert "after compilation" in fault(go, "tune", model=compiled).message


def test_a_negative_seed_is_refused(go, fault):
    assert "-1" in fault(go, "scale", seed=-1, kind=UsageError).message


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("spoils", "changed the model that it was given"),
        ("boasts", "says that it changed the model, and it did not"),
        ("hides", "says that it changed nothing, and it did"),
        ("forgets", "returned Model, not a Result"),
        ("silent", "without a Report"),
        ("cuts", "changed the network's inputs or outputs"),
        ("babbles", "cannot be written down"),
        ("leaps", "returned a model that is compiled"),
    ],
)
def test_a_step_that_breaks_its_contract_is_named(go, step, words, fault):
    error = fault(go, step, kind=PluginError)
    assert words in error.message
    assert f"'{step}'" in error.message


def test_a_bug_in_a_step_keeps_its_traceback_and_gets_a_note(go):
    with pytest.raises(ZeroDivisionError) as caught:
        go("breaks")
    assert "In step 'breaks'" in caught.value.__notes__[0]


def test_check_needs_no_data_and_runs_nothing(registry, diary):
    runner.check(conv_chain(), Recipe((Step("scale"), Step("quantize"))), registry)
    with pytest.raises(DataError):
        runner.check(conv_chain(), Recipe((Step("quantize"),)), registry, calibrated=False)
    assert diary.events == []


def test_a_target_can_be_given_as_an_object(registry):
    board = registry.create("target", "board", {})
    out = runner.run(conv_chain(), Recipe((Step("scale"),)), registry=registry, target=board)
    assert out.history[0].target == "board"


def test_no_step_calibrates_on_the_samples_that_one_judges_by(go):
    """16 samples, 5 asked for, a quarter given; the step before gets the other 12 as well."""
    out = go("counts", "judges", "quantize")
    assert [r.report.metrics.get("calibration") for r in out.history] == [12, 12, None]
    assert [r.report.metrics.get("held_out") for r in out.history] == [4, 4, None]
    assert out.history[1].report.metrics["shared"] == 0
    assert {r.data["held_out"] for r in out.history} == {5}
    alone = go("counts", "quantize")
    assert alone.history[0].report.metrics == {"calibration": 16, "held_out": 0, "shared": 0}
    assert "held_out" not in alone.history[0].data


def test_a_step_takes_options_over_from_later_ones_and_the_history_holds_them(go):
    out = go("heed", "noise", "scale:factor=3", "scale:factor=5")
    assert [r.options.get("factor") for r in out.history] == [3.0, None, 3.0, 5.0]
    assert go("heed:factor=2", "scale").history[0].options == {"factor": 2.0}
