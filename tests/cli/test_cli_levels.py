"""Levels on the command line: what runs, what is said, what is refused."""

import json
import sys
from pathlib import Path

import pytest
from fewbits import api
from fewbits.recipe import Recipe


@pytest.fixture
def optimize(folder, run):
    """Return a function that optimizes the small network, plus options."""

    def call(*options):
        files = [folder / "net.onnx", "--calib-path", folder / "calib.npy"]
        return run("optimize", *files, *options)

    return call


def test_the_level_that_is_taken_is_said_and_why(optimize):
    result = optimize()
    assert result.exit_code == 0, result.output
    first, second = result.stdout.splitlines()[:2]
    assert first.startswith("Optimization level ")
    assert "equalization, quantize" in first
    assert second.startswith("Not optimization level 2: ")
    assert "1024 calibration images, and there are 24" in second


def test_a_level_that_is_named_runs_and_stands_in_the_archive(optimize):
    result = optimize("--optimization-level", -100, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["level"]["optimization_level"] == -100
    record = api.load("net.fewbits").history[-1]
    assert (record.use, record.options["bias_correction"]) == ("uniform", False)
    assert record.level == {"optimization_level": -100, "compression_level": 0}


def test_compression_level_five_puts_every_weight_at_four_bits(optimize, output_of):
    assert optimize("--optimization-level", 0, "--compression-level", 5).exit_code == 0
    assert set(output_of("info", "net.fewbits")["precisions"]) == {"a8_w4"}


def test_a_need_that_is_not_met_stops_before_anything_runs(folder, refused):
    files = ["optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy"]
    words = ["Optimization level 2", "1024", "24", "--allow-downgrade", "--optimization-level"]
    refused([*files, "--optimization-level", 2], words)


def test_what_is_lowered_is_a_warning_even_when_quiet(optimize, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = optimize("--optimization-level", 4, "--allow-downgrade", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "warning: optimization level 4, compression level 0 is lowered: " in result.stderr
    assert "adaround" in result.stderr
    lowered = api.load("net.fewbits").history[-1].level["lowered"]
    assert any("adaround" in each for each in lowered)


@pytest.mark.parametrize(
    "levels", [["--optimization-level", 1], ["--compression-level", 0], ["--allow-downgrade"]]
)
def test_steps_and_levels_exclude_each_other(folder, refused, levels):
    Path("r.toml").write_text('[[step]]\nuse = "quantize"\n')
    files = ["optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy"]
    refused([*files, "-p", "quantize", *levels], ["-p and the levels"], code=2)
    refused([*files, "--recipe", "r.toml", *levels], ["--recipe and the levels"], code=2)


def test_an_unknown_level_lists_the_known(folder, refused):
    files = ["optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy"]
    refused([*files, "--optimization-level", 9], ["no optimization level 9", "-100, 0, 1"], code=2)
    refused([*files, "--compression-level", 9], ["no compression level 9", "0, 1, 2"], code=2)
    refused(["describe", "level", 9], ["no optimization level 9"], code=2)
    refused(["describe", "level 2", "--compression-level", 9], ["compression level 9"], code=2)
    refused(["describe", "level two"], ["'two' is no level"], code=2)
    refused(["describe", "uniform", "--compression-level", 1], ["level N"], code=2)
    refused(["describe", "level", "--compression-level", 1], ["Which"], code=2)


def test_the_recipe_of_a_level_can_be_saved_and_run(optimize):
    level = ["--optimization-level", 0, "--compression-level", 5]
    assert optimize(*level, "--save-recipe", "r.toml", "-o", "a.fewbits").exit_code == 0
    assert [s.use for s in Recipe.load("r.toml").steps] == ["equalization", "quantize"]
    assert optimize("--recipe", "r.toml", "-o", "b.fewbits").exit_code == 0
    first, second = api.load("a.fewbits"), api.load("b.fewbits")
    assert [r.output_digest for r in first.history] == [r.output_digest for r in second.history]


@pytest.mark.parametrize("words", [["level", "-100"], ["level -100"]])
def test_describe_takes_a_negative_level(run, words):
    result = run("describe", *words)
    assert result.exit_code == 0, result.output
    assert "activation_range=minmax" in result.stdout


def test_describe_shows_a_level_as_flags_and_toml_with_its_needs(run, output_of):
    result = run("describe", "level", "2", "--compression-level", "2")
    assert result.exit_code == 0, result.output
    assert "1024 calibration images, torch, fewbits-equalization" in result.stdout
    assert "-p mixed_precision:precision=a8_w8,ratio_4bit=0.4" in result.stdout
    described = output_of("describe", "level", "2", "--compression-level", "2")
    recipe = Recipe.from_toml(described["toml"])
    assert [{"use": s.use, "options": dict(s.options)} for s in recipe.steps] == described["steps"]


def test_the_flags_that_describe_prints_do_what_the_level_does(optimize, output_of):
    flags = output_of("describe", "level", "0", "--compression-level", "5")["flags"]
    assert optimize(*flags.split(), "-o", "a.fewbits").exit_code == 0
    level = ["--optimization-level", 0, "--compression-level", 5]
    assert optimize(*level, "-o", "b.fewbits").exit_code == 0
    digests = [api.load(p).history[-1].output_digest for p in ("a.fewbits", "b.fewbits")]
    assert digests[0] == digests[1]


def test_describe_lists_every_level(run, output_of):
    rows = output_of("describe", "level")
    assert [row["optimization_level"] for row in rows] == [-100, 0, 1, 2, 3, 4]
    result = run("describe", "levels")
    assert result.exit_code == 0
    assert "weights in 4 bits" in result.stdout


def test_describe_says_what_is_missing_here(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = run("describe", "level", "3")
    assert "missing here:" in result.stdout


def test_commands_that_quantize_on_the_way_say_the_level_on_stderr(folder, run):
    calibration = ["--calib-path", folder / "calib.npy", "--optimization-level", 0]
    result = run("compile", folder / "net.onnx", *calibration, "-o", "net.int8.onnx")
    assert result.exit_code == 0, result.output
    assert "Optimization level 0, compression level 0: equalization, quantize" in result.stderr
    assert result.stdout.startswith("Wrote net.int8.onnx")
    data = ["--data-path", f"{folder}/eval.npz#images", "--compression-level", 5]
    result = run("eval", folder / "net.onnx", *calibration, *data)
    assert result.exit_code == 0, result.output
    assert "compression level 5" in result.stderr


def test_info_shows_the_levels_of_the_last_run(optimize, run):
    assert optimize("--optimization-level", 0, "--compression-level", 5).exit_code == 0
    assert "optimization 0, compression 5" in run("info", "net.fewbits").stdout
