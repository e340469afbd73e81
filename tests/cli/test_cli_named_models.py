"""Commands by name: `fewbits eval digits`, as users of Hailo's zoo know it."""

import shutil
from pathlib import Path

import onnx
import pytest
from fewbits import api
from fewbits_demo.digits import Digits

LEVEL = ["--optimization-level", 0, "--calib-count", 64]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_eval_by_name_is_the_float_baseline_and_writes_nothing(run):
    result = run("eval", "digits", "--data-count", 200)
    assert result.exit_code == 0, result.output
    assert "digits: reading " in result.stderr
    assert "full precision" in result.stdout.splitlines()[1]
    assert "\nDone 200 images top1=" in result.stdout
    assert list(Path().iterdir()) == []


def test_the_four_commands_of_the_workflow_need_the_name_alone(run, output_of):
    assert output_of("eval", "digits")["metrics"]["classification"]["top1"] > 99
    assert output_of("optimize", "digits", *LEVEL)["archive"] == "digits.fewbits"
    result = run("eval", "digits", "--target", "emulator")
    assert "digits: going on from digits.fewbits, which is quantized\n" in result.stderr
    head = result.stdout.splitlines()[1]
    assert all(word in head for word in ("full precision", "emulator", "degradation"))
    assert output_of("compile", "digits")["archive"] == "digits.fewbits"
    assert Path("digits.cpu.onnx").exists()
    assert api.load("digits.fewbits").stage.value == "compiled"


def test_a_command_runs_the_stages_that_are_missing_and_keeps_them(run):
    result = run("compile", "digits", *LEVEL)
    assert result.exit_code == 0, result.output
    assert "Wrote digits.fewbits" in result.stderr
    assert sorted(p.name for p in Path().iterdir()) == ["digits.cpu.onnx", "digits.fewbits"]


def test_the_named_model_brings_its_preprocessing(output_of):
    held = output_of("parse", "digits")
    assert held["preprocess"]["channels"] == "GRAY"
    assert held["name"] == "digits"


def test_what_the_user_says_wins_over_the_named_model(output_of):
    held = output_of("parse", "digits", "--preprocess", "std=2,channels=GRAY")
    assert held["preprocess"]["std"] == [2.0]
    assert output_of("optimize", "digits", *LEVEL)["stage"] == "quantized"
    parsed = api.load("digits.fewbits").history[1]
    assert parsed.data["count"] == 64


def test_info_by_name_says_what_is_known(run, output_of):
    text = run("info", "digits").stdout
    for words in ("MACs", "task", "handwritten digits", "top-1 99.63 %", "licence", "Apache-2.0"):
        assert words in text
    assert output_of("info", "digits")["known"]["full_precision"] == 99.63


def test_list_names_the_models(output_of):
    assert "digits" in {row["name"] for row in output_of("list", "models")}


@pytest.mark.parametrize("spelling", ["--archive", "--har"])
def test_the_stages_come_from_the_archive_that_is_named(spelling, output_of):
    output_of("optimize", "digits", *LEVEL, "-o", "mine.fewbits")
    assert not Path("digits.fewbits").exists()
    measured = output_of("eval", "digits", spelling, "mine.fewbits", "--data-count", 50)
    assert (measured["target"], measured["images"]) == ("emulator", 50)


def test_an_archive_beside_the_network_s_own_file(output_of, refused):
    shutil.copy(Digits().network(), "net.onnx")
    output_of("parse", "net.onnx", "-o", "a.fewbits")
    assert output_of("info", "net.onnx", "--archive", "a.fewbits")["stage"] == "parsed"
    write_other("other.onnx")
    refused(["info", "other.onnx", "--archive", "a.fewbits"], ["was not made from"], code=2)
    refused(["info", "a.fewbits", "--archive", "a.fewbits"], ["is an archive itself"], code=2)
    refused(["info", "net.onnx", "--archive", "gone.fewbits"], ["no file gone.fewbits"])


def write_other(path):
    """Write the digits network with other weights."""
    network = onnx.load(Digits().network())
    bias = next(t for t in network.graph.initializer if len(t.dims) == 1)
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1, bias.name))
    onnx.save(network, path)


def test_own_weights_take_the_place_of_the_named_network(output_of, refused):
    write_other("own.onnx")
    own = output_of("eval", "digits", "--ckpt", "own.onnx")
    assert own["metrics"] != output_of("eval", "digits")["metrics"]
    output_of("parse", "digits")
    refused(["eval", "digits", "--ckpt", "own.onnx"], ["digits.fewbits was not made from"], code=2)
    refused(["eval", "own.onnx", "--ckpt", "own.onnx"], ["--ckpt", "is a file"], code=2)
    refused(["eval", "digits", "--ckpt", "none.onnx", "-o", "x.fewbits"], ["none.onnx"])


def test_a_file_wins_over_a_named_model(output_of):
    shutil.copy(Digits().network(), "digits")
    shutil.move("digits", "digits.onnx")
    assert output_of("info", "digits.onnx")["preprocess"] is None


def test_neither_a_file_nor_a_model_names_the_nearest(refused):
    refused(["eval", "digitz"], ["no file digitz", "no model 'digitz'", "Did you mean 'digits'?"])
    refused(["eval", "digits.onnx"], ["There is no file digits.onnx.", "Check the path"])
    Path("folder").mkdir()
    refused(["eval", "folder"], ["folder is a folder"])


def test_a_plugin_that_is_left_out_is_named(run):
    result = run("--no-plugin", "demo", "info", "digits")
    assert result.exit_code == 1
    assert "demo" in result.stderr
    assert "disabled" in result.stderr


def test_a_file_without_data_to_measure_on(refused):
    shutil.copy(Digits().network(), "net.onnx")
    refused(["eval", "net.onnx"], ["nothing to measure net on", "--data-path"], code=2)


def test_the_target_is_the_one_that_the_archive_was_made_for(run, output_of):
    output_of("optimize", "digits", "-p", "quantize", "--calib-count", 32, "--hw-arch", "hailo8")
    assert run("compile", "digits", "--check").stdout.rstrip().endswith("for hailo8")
    assert run("compile", "digits", "--check", "--hw-arch", "cpu").stdout.rstrip().endswith("cpu")
    output_of("optimize", "digits", "-p", "quantize", "--calib-count", 32, "--restart")
    assert api.load("digits.fewbits").history[-1].target == "cpu"


def test_tune_and_analyze_take_a_name(run, output_of):
    few = ["--calib-count", 32, "--data-count", 64]
    found = output_of("tune", "digits", *few, "--min-snr", 10, "--levels=0", "--compressions", "0")
    assert (found["archive"], found["images"]) == ("digits.fewbits", 64)
    result = run("analyze", "digits", "--data-count", 8)
    assert result.exit_code == 0, result.output
