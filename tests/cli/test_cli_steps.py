"""Where the steps come from: named, a script of another tool, levels; and edits of the input."""

from pathlib import Path

import pytest
from fewbits import api
from fewbits.cli.stepflags import StepFlags, wish_of
from fewbits.plugins import from_environment
from fewbits.preparing import prepare
from fewbits.recipe import Recipe, parse_step

SCRIPT = """\
model_optimization_flavor(optimization_level=0, compression_level=5)
performance_param(fps=100)
"""


@pytest.fixture
def script(folder):
    path = folder / "net.alls"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def files(folder):
    return [folder / "net.onnx", "--calib-path", folder / "calib.npy"]


def steps_of(archive="net.fewbits"):
    return [record.use for record in api.load(archive).history]


def test_a_model_script_changes_the_steps_of_its_levels(files, script, output_of):
    output_of("optimize", *files, "--model-script", script)
    assert steps_of() == ["onnx", "hailo_script", "equalization", "uniform"]
    assert set(output_of("info", "net.fewbits")["precisions"]) == {"a8_w4"}


def test_levels_that_are_given_win_over_the_script_s(files, script, output_of):
    output_of("optimize", *files, "--model-script", script, "--compression-level", 0)
    assert set(output_of("info", "net.fewbits")["precisions"]) == {"a8_w8"}
    output_of("optimize", *files, "--recipe", script, "--optimization-level", -100)
    assert steps_of() == ["onnx", "hailo_script", "uniform"]


def test_the_api_takes_a_script_as_its_recipe(folder, script):
    model = api.parse(folder / "net.onnx")
    done = api.optimize(model, recipe=str(script), calibration=str(folder / "calib.npy"))
    assert [record.use for record in done.history][1] == "hailo_script"
    level = done.history[-1].level
    assert (level["optimization_level"], level["compression_level"]) == (0, 5)
    lower = api.optimize(
        model, recipe=script, compression_level=0, calibration=str(folder / "calib.npy")
    )
    assert lower.history[-1].level["compression_level"] == 0


def test_an_unknown_line_stops_unless_lenient(files, script, run, refused):
    script.write_text(SCRIPT + "frobnicate(1)\n")
    refused(["optimize", *files, "--model-script", script], ["line 3", "frobnicate"])
    result = run("optimize", *files, "--model-script", script, "--lenient")
    assert result.exit_code == 0, result.output
    assert "frobnicate" in result.stderr
    assert "warning: " in result.stderr


def test_one_thing_says_what_runs(files, script, refused):
    both = ["both say which steps to run"]
    refused(["optimize", *files, "--model-script", script, "-p", "quantize"], both, code=2)
    refused(["compile", *files, "--model-script", script, "--recipe", "r.toml"], both, code=2)
    refused(["optimize", *files, "--lenient"], ["no model script"], code=2)


def test_a_script_that_nobody_reads(files, folder, refused):
    (folder / "net.script").write_text("")
    words = ["net.script", "fewbits-hailo"]
    refused(["optimize", *files, "--model-script", folder / "net.script"], words, code=2)


def test_commands_that_quantize_on_the_way_take_steps_too(files, run):
    result = run("compile", *files, "-p", "quantize:precision=a8_w4", "-o", "net.int8.onnx")
    assert result.exit_code == 0, result.output
    data = ["--data-path", files[2]]
    result = run("eval", *files, *data, "-p", "quantize:precision=a8_w4", "-o", "kept.fewbits")
    assert result.exit_code == 0, result.output
    assert steps_of("kept.fewbits") == ["onnx", "uniform"]


@pytest.mark.parametrize(
    "option",
    [["-p", "quantize"], ["--optimization-level", 0], ["--resize", 16, 16]],
)
def test_steps_are_refused_where_nothing_is_to_be_quantized(folder, archive, option, refused):
    words = ["is quantized already", str(option[0]), "--restart"]
    refused(["compile", archive, *option, "-o", "x.onnx"], words, code=2)
    data = ["--data-path", f"{folder}/eval.npz#images", "--target", "full_precision"]
    refused(["eval", folder / "net.onnx", *data, *option], ["runs what is there"], code=2)


def test_edits_of_the_input_stand_before_what_uses_samples(files, folder, output_of):
    steps = ["-p", "quantize", "--resize", 8, 8, "--input-conversion", "bgr_to_rgb"]
    saved = ["--save-recipe", "r.toml"]
    output_of("optimize", *files, *steps, *saved)
    assert [step.use for step in Recipe.load("r.toml").steps] == [
        "resize",
        "input_conversion",
        "quantize",
    ]
    measured = output_of("eval", "net.fewbits", "--data-path", f"{folder}/eval.npz#images")
    assert measured["metrics"]["fidelity"]["snr_db"] > 20


def test_edits_of_the_input_stand_behind_those_that_the_recipe_begins_with(folder):
    flags = StepFlags(["input_layout:layout=NHWC", "hailo_script"], input_conversion="bgr_to_rgb")
    registry = from_environment()
    prepared = prepare(
        api.parse(folder / "net.onnx"),
        wish_of(flags, registry),
        registry=registry,
        target=registry.create("target", "cpu", {}),
    )
    uses = [step.use for step in prepared.recipe.steps]
    assert uses == ["input_layout", "input_conversion", "hailo_script"]


def test_a_conversion_that_is_unknown_names_those_that_are_known(files, refused):
    words = ["input_conversion", "nv12_to_rgb"]
    refused(["optimize", *files, "-p", "quantize", "--input-conversion", "rgb_to_nv99"], words)


def test_performance_is_for_targets_whose_compiler_has_such_a_setting(files, output_of, refused):
    option = ["-p", "quantize", "--performance"]
    refused(["optimize", *files, *option], ["cpu has no compiler setting"])
    output_of("optimize", *files, *option, "--hw-arch", "hailo8")
    kept = next(r for r in api.load("net.fewbits").history if r.use == "hailo_script")
    assert kept.options["lines"] == ["performance_param(compiler_optimization_level=max)"]


def test_performance_may_be_said_when_a_quantized_model_is_compiled(files, output_of, refused):
    output_of("optimize", *files, "-p", "quantize", "--hw-arch", "hailo8")
    samples = ["--calib-path", files[2], "--calib-count", 4]
    output_of("compile", "net.fewbits", *samples, "--bundle", "plain")
    output_of("compile", "net.fewbits", *samples, "--bundle", "fast", "--performance")
    line = "performance_param(compiler_optimization_level=max)"
    assert line not in next(Path("plain").glob("*.alls")).read_text()
    assert line in next(Path("fast").glob("*.alls")).read_text()
    onto_cpu = ["--hw-arch", "cpu", "-o", "x.onnx", "--performance"]
    refused(["compile", "net.fewbits", *onto_cpu], ["cpu has no compiler setting"])


def test_classes_are_those_of_an_output(folder, output_of, refused):
    assert output_of("info", folder / "net.onnx", "--classes", 6)["outputs"]
    words = ["tells 7 classes apart", "N×6"]
    refused(["parse", folder / "net.onnx", "--classes", 7], words, code=2)


def test_the_steps_that_suit_a_named_model_run_where_nobody_says_others():
    registry = from_environment()
    suited = Recipe((parse_step("quantize:precision=a8_w4"),))
    assert wish_of(StepFlags(), registry, suited).recipe == suited
    assert wish_of(StepFlags(resize=(8, 8)), registry, suited).recipe == suited
    assert wish_of(StepFlags(optimization_level=0), registry, suited).recipe is None
    assert wish_of(StepFlags(steps=["quantize"]), registry, suited).recipe != suited
