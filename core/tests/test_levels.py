"""What the levels stand for, and what becomes of them where something is missing."""

import logging
import sys

import fewbits
import pytest
from fewbits import archive
from fewbits.choosing import choose
from fewbits.component import Component
from fewbits.errors import DataError, RecipeError, UsageError
from fewbits.hookspecs import hookimpl
from fewbits.interfaces import Algorithm, Result, Script
from fewbits.levels import COMPRESSION, OPTIMIZATION, level
from fewbits.model import Stage
from fewbits.needs import unmet
from fewbits.options import Options
from fewbits.plugins import Registry, discover
from fewbits.provenance import Report
from fewbits.recipe import Recipe, Step
from fewbits.testing.toys import calibration, conv_chain
from pydantic import Field

EVERY = [(o, c) for o in OPTIMIZATION for c in COMPRESSION]


class TrainingOptions(Options):
    epochs: int = Field(1, description="How often.")
    dataset_size: int = Field(8, description="How many images.")
    mode: str = Field("train_4bit", description="Which layers.")


class Fake(Algorithm):
    """Changes nothing."""

    def apply(self, model, context):
        return Result(model, Report(False, "nothing to do"))


class Equalization(Fake):
    name = "equalization"


class Corrects(Fake):
    stage = Stage.QUANTIZED


class Ibc(Corrects):
    name = "ibc"


class Gptq(Corrects):
    name = "gptq"


class Qft(Corrects):
    name = "qft"
    Options = TrainingOptions


class Adaround(Corrects):
    name = "adaround"
    Options = TrainingOptions


ALL = (Equalization, Ibc, Gptq, Qft, Adaround)


def components(classes):
    return [Component("algorithm", c.name, "fake", f"{__name__}:{c.__name__}") for c in classes]


@pytest.fixture
def with_steps(tmp_path):
    """Return a function that gives the built-ins and the fakes that are named."""

    def call(*classes):
        class Plugin:
            @hookimpl
            def algorithms(self):
                return components(classes)

        installed = discover()
        others = {r.name for r in installed.records if r.distribution != "fewbits-core"}
        registry = discover(disabled=others)
        registry.register(Plugin(), "fakes")
        return registry

    return call


@pytest.fixture
def torch_there(monkeypatch):
    monkeypatch.setattr("fewbits.needs.find_spec", lambda name: object())


def uses(recipe):
    return [step.use for step in recipe.steps]


@pytest.mark.parametrize(
    ("optimization", "steps"),
    [
        (-100, ["quantize"]),
        (0, ["equalization", "quantize"]),
        (1, ["equalization", "quantize", "gptq", "ibc"]),
        (2, ["equalization", "quantize", "gptq", "qft"]),
        (3, ["equalization", "quantize", "adaround", "ibc"]),
        (4, ["equalization", "quantize", "adaround", "ibc"]),
    ],
)
def test_the_steps_of_each_optimization_level(optimization, steps):
    assert uses(level(optimization).recipe) == steps


@pytest.mark.parametrize(("number", "ratio"), COMPRESSION.items())
def test_the_share_of_four_bits_of_each_compression_level(number, ratio):
    quantizer = level(0, number).steps[1]
    if number in (0, 5):
        assert str(quantizer) == f"quantize:precision=a8_w{8 if number == 0 else 4}"
    else:
        assert quantizer.use == "mixed_precision"
        assert quantizer.options["ratio_4bit"] == pytest.approx(number / 5) == ratio


@pytest.mark.parametrize(("optimization", "last"), [(1, "ibc"), (2, "qft")])
def test_weights_are_rounded_by_hessians_first(optimization, last):
    for number in (0, 1, 5):
        assert uses(level(optimization, number).recipe)[-2:] == ["gptq", last]


def test_needs_follow_from_the_steps():
    assert [level(o).images for o in OPTIMIZATION] == [1, 1, 1, 1024, 256, 1024]
    assert [level(o).torch for o in OPTIMIZATION] == [False, False, False, True, True, True]
    assert level(2, 2).distributions == (
        "fewbits-equalization",
        "fewbits-mixed-precision",
        "fewbits-gptq",
        "fewbits-qft",
    )


@pytest.mark.parametrize(("optimization", "compression"), EVERY)
def test_each_level_s_recipe_can_be_copied_as_toml(optimization, compression):
    recipe = level(optimization, compression).recipe
    assert Recipe.from_toml(recipe.to_toml()) == recipe


@pytest.mark.parametrize(("optimization", "compression"), [(5, 0), (-1, 0), (2, 6), (2, -1)])
def test_an_unknown_level_lists_the_known(optimization, compression):
    with pytest.raises(UsageError, match="There is no") as caught:
        level(optimization, compression)
    assert "0, 1, 2, 3, 4" in caught.value.hint


def test_a_level_that_can_run_is_taken_as_it_is(with_steps, torch_there):
    choice = choose(conv_chain(), registry=with_steps(*ALL), images=1024, optimization=2)
    assert choice.recipe == level(2).recipe
    assert choice.recipe.level == {"optimization_level": 2, "compression_level": 0}
    assert (choice.reasons, choice.lowered) == ((), ())


def test_nothing_is_lowered_unasked(with_steps, torch_there):
    registry = with_steps(*ALL)
    with pytest.raises(RecipeError, match="1024 calibration images, and there are 256") as caught:
        choose(conv_chain(), registry=registry, images=256, optimization=4)
    hint = caught.value.hint
    assert "--optimization-level 3" in hint
    assert "--allow-downgrade" in hint
    with pytest.raises(RecipeError, match="'ibc'") as caught:
        choose(conv_chain(), registry=with_steps(Equalization), images=8, optimization=1)
    assert "pip install fewbits-ibc" in caught.value.hint or "doctor" in caught.value.hint


def test_missing_torch_is_named_with_the_extra(with_steps, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RecipeError, match="needs torch") as caught:
        choose(conv_chain(), registry=with_steps(*ALL), images=2048, optimization=2)
    assert "pip install 'fewbits[qft]'" in caught.value.hint
    assert "--optimization-level 1" in caught.value.hint


def test_a_lowered_level_says_each_thing(with_steps, monkeypatch):
    registry = with_steps(Equalization, Ibc, Gptq, Qft)
    monkeypatch.setitem(sys.modules, "torch", None)
    choice = choose(
        conv_chain(),
        registry=registry,
        images=64,
        optimization=2,
        compression=2,
        allow_downgrade=True,
    )
    assert uses(choice.recipe) == ["equalization", "quantize", "gptq", "ibc"]
    said = "\n".join(choice.lowered)
    assert "compression level 2 is 0" in said
    assert "'ibc' takes the place of 'qft'" in said
    assert choice.recipe.level["lowered"] == list(choice.lowered)
    assert len(choice.warnings()) == 2


def test_fewer_images_than_a_level_wants_are_all_looked_at(with_steps, torch_there):
    choice = choose(
        conv_chain(), registry=with_steps(*ALL), images=300, optimization=4, allow_downgrade=True
    )
    assert choice.recipe.steps[2].options["dataset_size"] == 300
    assert "300 calibration images, not at 1024" in choice.lowered[0]
    varied = choose(
        conv_chain(), registry=with_steps(*ALL), images=300, optimization=2, allow_downgrade=True
    )
    assert varied.recipe.steps == level(2).steps, "qft varies what it has"
    assert "'qft' varies 300 calibration images in place of 1024" in varied.lowered[0]


def test_rounding_is_learnt_at_eight_bits_only_where_none_have_four():
    modes = [level(3, number).steps[2].options["mode"] for number in COMPRESSION]
    assert modes == ["train_all", *["train_4bit"] * 5]


def test_bias_correction_is_not_run_twice_where_it_takes_a_training_step_s_place(with_steps):
    registry = with_steps(Equalization, Ibc)
    choice = choose(conv_chain(), registry=registry, images=8, optimization=3, allow_downgrade=True)
    assert uses(choice.recipe) == ["equalization", "quantize", "ibc"]


@pytest.mark.parametrize(
    ("steps", "images", "taken", "reasons"),
    [
        (ALL, 1024, 2, 0),
        (ALL, 1023, 1, 1),
        ((Equalization, Gptq, Ibc), 4096, 1, 1),
        ((Equalization,), 4096, 0, 2),
        ((), 4096, 0, 3),
    ],
)
def test_the_default_is_the_best_of_three_and_says_why(
    with_steps, torch_there, steps, images, taken, reasons
):
    choice = choose(conv_chain(), registry=with_steps(*steps), images=images)
    assert choice.level.optimization == taken
    assert len(choice.reasons) == reasons
    assert choice.recipe.level["default"] is True
    assert choice.recipe.level["reasons"] == list(choice.reasons)
    assert uses(choice.recipe)[0] == ("equalization" if steps else "quantize")


def test_the_default_does_not_lower_a_compression_level_that_was_asked_for(with_steps):
    registry = with_steps(Equalization)
    with pytest.raises(RecipeError, match="mixed_precision"):
        choose(conv_chain(), registry=registry, images=8, compression=3)
    choice = choose(conv_chain(), registry=registry, images=8, compression=3, allow_downgrade=True)
    assert any("compression level 3 is 0" in each for each in choice.lowered)


def test_a_level_needs_data_and_a_model_in_full_precision(with_steps):
    registry = with_steps(*ALL)
    with pytest.raises(DataError, match="calibration data") as caught:
        choose(conv_chain(), registry=registry, images=None)
    assert "--calib-path" in caught.value.hint
    quantized = conv_chain().advance(Stage.QUANTIZED)
    with pytest.raises(RecipeError, match="already quantized"):
        choose(quantized, registry=registry, images=8)


def test_plugins_are_not_imported_while_a_cheaper_need_is_not_met(with_steps, torch_there):
    class Heavy:
        @hookimpl
        def algorithms(self):
            return [Component("algorithm", "qft", "fails when imported", "absent_module:Qft")]

    registry = with_steps(Equalization, Gptq)
    registry.register(Heavy(), "heavy")
    assert ["absent_module" in f.what for f in unmet(level(2), registry, 8)] == [False]
    assert ["absent_module" in f.what for f in unmet(level(2), registry, 1024)] == [True]


def test_python_takes_levels_and_writes_down_which(with_steps, caplog):
    registry = with_steps(Equalization, Gptq, Ibc)
    model = conv_chain()
    data = calibration(model, 8)
    options = {"calibration": data, "registry": registry}
    done = fewbits.optimize(model, optimization_level=1, **options)
    assert [r.use for r in done.history] == ["equalization", "uniform", "gptq", "ibc"]
    assert all(r.level["optimization_level"] == 1 for r in done.history)
    with caplog.at_level(logging.WARNING, "fewbits"):
        lowered = fewbits.optimize(model, optimization_level=2, allow_downgrade=True, **options)
    assert "'ibc' takes the place of 'qft'" in caplog.text
    assert lowered.history[-1].level["lowered"]
    assert archive.digest(lowered) == archive.digest(done)
    by_default = fewbits.optimize(model, **options)
    assert by_default.history[-1].level["default"] is True
    with pytest.raises(UsageError, match="A recipe and levels"):
        fewbits.optimize(model, recipe="quantize", compression_level=0, **options)


def test_the_level_stays_in_the_archive(with_steps, tmp_path):
    model = conv_chain()
    done = fewbits.optimize(
        model, calibration=calibration(model, 8), registry=with_steps(), allow_downgrade=True
    )
    held = fewbits.load(fewbits.save(done, tmp_path / "m.fewbits"))
    assert held.history[-1].level == done.history[-1].level
    assert held.history[-1].level["optimization_level"] == 0


def test_a_registry_of_nothing_has_no_level_that_runs():
    with pytest.raises(RecipeError):
        choose(conv_chain(), registry=Registry(), images=8)


class Said(Script):
    """A script that gives `qft` so many images, and a step of its own in front."""

    def __init__(self, images=64, optimization=None, first="equalization"):
        self.images = images
        self.optimization_level = optimization
        self.first = first

    def adapt(self, recipe):
        options = {"dataset_size": self.images}
        steps = [Step("qft", options) if step.use == "qft" else step for step in recipe.steps]
        return Recipe((Step(self.first), *steps[1:]), level=recipe.level)


def test_a_level_is_held_against_what_is_there_once_the_script_has_had_its_say(
    with_steps, torch_there
):
    registry = with_steps(*ALL)
    choice = choose(
        conv_chain(), registry=registry, images=64, optimization=2, script=Said(images=64)
    )
    assert choice.recipe.steps[-1].options == {"dataset_size": 64}
    assert choice.recipe.level == {"optimization_level": 2, "compression_level": 0}
    with pytest.raises(RecipeError, match="needs 65 calibration images") as caught:
        choose(conv_chain(), registry=registry, images=64, optimization=2, script=Said(images=65))
    assert "--optimization-level 1" in caught.value.hint


def test_a_script_names_the_level_where_the_user_names_none(with_steps, torch_there):
    registry = with_steps(*ALL)
    script = Said(optimization=1)
    named = choose(conv_chain(), registry=registry, images=64, script=script)
    assert named.level.optimization == 1
    given = choose(conv_chain(), registry=registry, images=64, optimization=0, script=script)
    assert given.level.optimization == 0


def test_the_default_level_takes_the_script_into_account(with_steps, torch_there):
    choice = choose(conv_chain(), registry=with_steps(*ALL), images=64, script=Said())
    assert choice.level.optimization == 2
    assert choice.recipe.steps[-1].options == {"dataset_size": 64}


def test_a_step_that_a_script_asks_for_is_never_left_out_unasked(with_steps, torch_there):
    script = Said(first="tse")
    with pytest.raises(RecipeError, match="'tse'") as caught:
        choose(conv_chain(), registry=with_steps(*ALL), images=64, script=script)
    assert "fewbits-tse" in caught.value.hint or "doctor" in caught.value.hint
    lowered = choose(
        conv_chain(), registry=with_steps(*ALL), images=64, script=script, allow_downgrade=True
    )
    assert any("'tse' is left out" in each for each in lowered.lowered)


def test_a_quantizer_that_takes_another_s_place_keeps_what_both_understand(with_steps):
    class Modes(Said):
        def adapt(self, recipe):
            steps = [
                Step(s.use, {**s.options, "layers": {"conv_0": "a8_w4"}, "samples": 9})
                if s.use == "mixed_precision"
                else s
                for s in recipe.steps
            ]
            return Recipe(tuple(steps), level=recipe.level)

    choice = choose(
        conv_chain(),
        registry=with_steps(Equalization),
        images=8,
        optimization=0,
        compression=2,
        script=Modes(),
        allow_downgrade=True,
    )
    quantizer = next(step for step in choice.recipe.steps if step.use == "quantize")
    assert quantizer.options == {"precision": "a8_w8", "layers": {"conv_0": "a8_w4"}, "samples": 8}
    assert any("at 8 calibration images, not at 9" in each for each in choice.lowered)
