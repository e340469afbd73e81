"""`fewbits compile` and `fewbits eval --target hardware` for Hailo devices, as users type them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fewbits
import numpy as np
import onnx_ir as ir
import pytest
from fewbits.cli.app import app
from fewbits.interfaces import Finding
from fewbits.testing import toys
from fewbits_hailo.target import Hailo8
from typer.testing import CliRunner

HAILO = ("--hw-arch", "hailo8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a network, samples, and an archive in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    model = toys.residual()
    ir.save(model.network, "net.onnx")
    np.save("samples.npy", toys.calibration(model, 10, seed=1).inputs["image"])
    Path("kept").mkdir()
    made = fewbits.optimize(
        fewbits.parse("net.onnx"), recipe="quantize", calibration="samples.npy", target="hailo8"
    )
    fewbits.save(made, "kept/net.fewbits")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments], prog_name="fewbits")


def output_of(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*arguments, code=1):
    before = sorted(Path().rglob("*"))
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ")
    assert sorted(Path().rglob("*")) == before
    return result.stderr


def test_the_hef_lies_beside_the_archive_which_gets_the_stage(folder, compiler):
    report = output_of("compile", "kept/net.fewbits", *HAILO)
    assert report["path"] == str(Path("kept/net.hef"))
    assert Path("kept/net.hef").read_bytes().startswith(compiler.MAGIC)
    assert fewbits.load("kept/net.fewbits").stage.value == "compiled"
    assert sorted(path.name for path in Path("kept").iterdir()) == ["net.fewbits", "net.hef"]


def test_where_networks_have_the_ending_the_targets_name_stands_before_it(folder):
    report = output_of("compile", "kept/net.fewbits", "--hw-arch", "cpu")
    assert report["path"] == str(Path("kept/net.cpu.onnx"))


def test_a_network_is_quantized_on_the_way(folder, compiler):
    options = ("--calib-path", "samples.npy", "--optimization-level", "-100")
    report = output_of("compile", "net.onnx", *HAILO, *options)
    assert (report["path"], report["archive"]) == ("net.hef", None)


def test_the_compilers_own_archive_is_kept_if_asked_for(folder, compiler):
    output_of("compile", "kept/net.fewbits", *HAILO, "--save-har", "net.har", "-o", "a.hef")
    assert Path("net.har").read_text().startswith("stand-in HAR")
    assert Path("a.hef").exists()
    options = ("--hw-arch", "cpu", "--save-har", "x", "-o", "y.onnx")
    assert "har" in refused("compile", "kept/net.fewbits", *options)


def test_without_the_compiler_nothing_is_begun(folder, no_hailo):
    said = refused("compile", "net.onnx", *HAILO, "--calib-path", "samples.npy")
    assert "hailo_sdk_client" in said
    assert "--bundle" in said


@pytest.mark.parametrize("start", ["net.onnx", "kept/net.fewbits"])
def test_a_bundle_is_written_without_the_compiler(folder, no_hailo, start):
    calibration = ("--calib-path", "samples.npy", "--calib-count", "6")
    options = (*calibration, "--optimization-level", "0") if start == "net.onnx" else calibration
    report = output_of("compile", start, *HAILO, *options, "--bundle", "out")
    assert {Path(file).name for file in report["files"]} == {p.name for p in Path("out").iterdir()}
    assert "net.hef" not in {p.name for p in Path().rglob("*")}
    assert np.load("out/calibration.npy").shape == (6, 12, 12, 3)


def test_the_user_is_told_where_to_read_on(folder, no_hailo):
    result = run("compile", "kept/net.fewbits", *HAILO, "--bundle", "out")
    assert "Wrote out (" in result.stdout
    assert f"{Path('out/README.md')} says what to do with it" in result.stdout


def test_a_bundle_takes_the_samples_of_the_history_and_is_the_same_each_time(folder, no_hailo):
    output_of("compile", "kept/net.fewbits", *HAILO, "--bundle", "one")
    Path("two").mkdir()
    output_of("compile", "kept/net.fewbits", *HAILO, "--bundle", "two")
    names = sorted(path.name for path in Path("one").iterdir())
    assert all(Path("one", n).read_bytes() == Path("two", n).read_bytes() for n in names)
    assert np.load("one/calibration.npy").shape == (10, 12, 12, 3)


def test_the_bundles_program_makes_the_same_hef_as_compiling_here(folder, compiler):
    output_of("compile", "kept/net.fewbits", *HAILO, "--bundle", "out")
    output_of("compile", "kept/net.fewbits", *HAILO)
    Path("packages").mkdir()
    Path("packages/hailo_sdk_client.py").write_text(Path(compiler.__file__).read_text())
    environment = {**os.environ, "PYTHONPATH": str(folder / "packages")}
    command = [sys.executable, "out/compile.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path("out/net.hef").read_bytes() == Path("kept/net.hef").read_bytes()


def test_a_folder_that_holds_something_is_refused_before_any_work(folder, no_hailo):
    said = refused("compile", "net.onnx", *HAILO, "--bundle", "kept", code=2)
    assert "kept is not empty" in said
    said = refused("compile", "net.onnx", *HAILO, "--bundle", "no/where")
    assert "no folder" in said


@pytest.mark.parametrize(
    "options",
    [
        ("--check", "--bundle", "out"),
        ("--check", "-o", "a.hef"),
        ("--bundle", "out", "-o", "a.hef"),
    ],
)
def test_options_that_do_not_go_together_are_refused(folder, options):
    assert "Give one of" in refused("compile", "net.onnx", *HAILO, *options, code=2)


@pytest.mark.parametrize("start", ["net.onnx", "kept/net.fewbits"])
def test_check_says_that_all_fits_and_writes_nothing(folder, no_hailo, start):
    before = sorted(folder.rglob("*"))
    result = run("compile", start, *HAILO, "--check")
    assert result.exit_code == 0, result.output
    assert "can be compiled for hailo8" in result.stdout
    assert sorted(folder.rglob("*")) == before
    assert output_of("compile", start, *HAILO, "--check")["fits"] is True


def test_check_says_that_it_runs_no_steps(folder):
    result = run("compile", "net.onnx", *HAILO, "--check", "-p", "quantize")
    assert result.exit_code == 0, result.output
    assert "the steps are not run" in result.stderr


def test_check_tells_everything_at_once(folder, no_hailo, monkeypatch):
    found = [
        Finding("conv_0", "no more than 4 channels", "Prune it."),
        Finding("conv_2", "it is slow there", "Nothing.", fatal=False),
    ]
    monkeypatch.setattr(Hailo8, "check", lambda self, model: found)
    result = run("compile", "net.onnx", *HAILO, "--check")
    assert result.exit_code == 1
    for words in ("conv_0", "no more than 4 channels", "Prune it.", "conv_2", "it is slow there"):
        assert words in result.stdout
    assert "cannot be compiled for hailo8" in result.stdout
    report = json.loads(run("compile", "net.onnx", *HAILO, "--check", "--json").stdout)
    assert [each["fatal"] for each in report["findings"]] == [True, False]
    assert report["fits"] is False
    said = run("compile", "net.onnx", *HAILO, "--calib-path", "samples.npy", "--bundle", "out")
    assert "hailo8 cannot run 'conv_0'" in said.stderr
    assert not Path("out").exists()


def test_what_the_hardware_computes_is_measured(folder, compiler, platform):
    output_of("compile", "kept/net.fewbits", *HAILO)
    options = ("--data-path", "samples.npy", "--target", "hardware")
    report = output_of("eval", "kept/net.fewbits", *options)
    assert (report["target"], report["images"]) == ("hardware", 10)
    assert report["metrics"]["fidelity"]["snr_db"] > 20
    assert platform.VDevice.opened == 0
    result = run("eval", "kept/net.fewbits", *options)
    assert "hardware" in result.stdout


def test_another_hef_can_be_named(folder, compiler, platform):
    output_of("compile", "kept/net.fewbits", *HAILO, "-o", "other.hef")
    options = ("--data-path", "samples.npy", "--hef", "other.hef")
    assert output_of("eval", "kept/net.fewbits", *options)["target"] == "hardware"
    said = refused("eval", "kept/net.fewbits", *options, "--target", "emulator", code=2)
    assert "--target hardware" in said


def test_a_hef_that_is_older_than_the_model_is_refused(folder, compiler, platform):
    output_of("compile", "kept/net.fewbits", *HAILO)
    Path("kept/net.hef").write_bytes(b"old")
    said = refused("eval", "kept/net.fewbits", "--data-path", "samples.npy", "--target", "hardware")
    assert "not what net was compiled to" in said


def test_what_the_hardware_needs_is_named(folder, no_hailo):
    options = ("--data-path", "samples.npy", "--target", "hardware")
    assert "hailo_platform" in refused("eval", "kept/net.fewbits", *options)
    assert "not quantized" in refused("eval", "net.onnx", *options)


def test_without_a_hef_the_error_says_how_to_make_one(folder, platform):
    options = ("--data-path", "samples.npy", "--target", "hardware")
    said = refused("eval", "kept/net.fewbits", *options)
    assert "net.hef" in said
    assert "fewbits compile --hw-arch hailo8" in said
