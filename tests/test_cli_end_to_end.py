"""The command line on real files: the whole workflow, bad input, interruption."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from fewbits import api
from fewbits.archive import digest
from fewbits.cli.app import app
from fewbits.testing.net import Net
from onnx import helper
from PIL import Image
from typer.testing import CliRunner

SIDE = 8
SHARED = Path(__file__).resolve().parents[2] / "shared"

STEPS_PLUGIN = """
from fewbits.component import Component
from fewbits.hookspecs import hookimpl

@hookimpl
def algorithms():
    return [
        Component("algorithm", "touch", "Does nothing at once", "slow_parts:Touch"),
        Component("algorithm", "nap", "Does nothing for long", "slow_parts:Nap"),
    ]
"""

STEPS = """
import os, time
from fewbits.errors import TargetError
from fewbits.interfaces import Algorithm, Result
from fewbits.provenance import Report

class Touch(Algorithm):
    name = "touch"

    def apply(self, model, context):
        return Result(model, Report(changed=False, summary="touched"))

class Nap(Algorithm):
    name = "nap"

    def apply(self, model, context):
        if os.environ.get("NAP") == "never":
            raise TargetError("It does not fit.", hint="Make it smaller.")
        for second in range(int(os.environ.get("NAP", "0"))):
            context.progress("nap", second, None, "seconds")
            time.sleep(1)
        return Result(model, Report(changed=False, summary="slept"))
"""


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments], prog_name="fewbits")


def output_of(*arguments):
    """Run a command that must succeed; return what it printed as JSON."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def classifier():
    """Convolutions, pooling and a Gemm that tells six classes apart."""
    net = Net("classifier")
    x = net.op("Relu", net.conv(net.input("image", 3, SIDE, SIDE), 3, 8))
    x = net.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.op("Relu", net.conv(x, 8, 8, group=8))
    net.output(net.gemm(net.op("Flatten", net.op("GlobalAveragePool", x)), 8, 6), 6)
    return net.build()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder; a network, calibration and labelled data lie in `inputs`."""
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    network = classifier()
    (inputs / "net.onnx").write_bytes(ir.to_proto(network.network).SerializeToString())
    shape = (3, SIDE, SIDE)
    rng = np.random.default_rng(7)
    np.save(inputs / "calib.npy", rng.normal(size=(24, *shape)).astype(np.float32))
    images = rng.normal(size=(16, *shape)).astype(np.float32)
    np.savez(inputs / "eval.npz", images=images, labels=np.zeros(16, np.int64))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return inputs


@pytest.fixture
def archive(folder):
    path = folder / "net.fewbits"
    output_of("optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy", "-o", path)
    return path


def test_parse_then_optimize_then_compile_in_one_archive(folder):
    parsed = output_of("parse", folder / "net.onnx", "-o", "net.fewbits")
    assert parsed["stage"] == "parsed"
    calibration = ["--calib-path", folder / "calib.npy"]
    optimized = output_of("optimize", "net.fewbits", *calibration, "-p", "quantize")
    assert optimized["archive"] == "net.fewbits"
    compiled = output_of("compile", "net.fewbits", "--hw-arch", "cpu", "-o", "net.int8.onnx")
    assert compiled["bytes"] == Path("net.int8.onnx").stat().st_size
    info = output_of("info", "net.fewbits")
    assert info["stages"] == ["parsed", "quantized", "compiled"]
    assert [step["use"] for step in info["history"]] == ["onnx", "uniform", "cpu"]
    assert ort.InferenceSession("net.int8.onnx").get_inputs()[0].name == "image"


def test_default_output_lies_where_the_command_runs(folder):
    output_of("optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy")
    assert Path("net.fewbits").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["calib.npy", "eval.npz", "net.onnx"]


def test_optimize_shows_what_each_step_did(folder):
    result = run("optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy")
    assert result.exit_code == 0
    row = next(line for line in result.stdout.splitlines() if line.startswith("uniform"))
    assert "a8_w8" in row
    assert "Wrote net.fewbits" in result.stdout


def test_quiet_prints_nothing(folder):
    result = run("optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy", "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_the_precision_of_a_step_reaches_the_model(folder):
    step = "quantize:precision=a8_w4,weights=per_tensor"
    output_of("optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy", "-p", step)
    info = output_of("info", "net.fewbits")
    assert set(info["precisions"]) == {"a8_w4"}
    assert info["bytes"]["quantized"] < info["bytes"]["float32"] / 2


def test_a_saved_recipe_gives_the_same_archive(folder):
    calibration = ["--calib-path", folder / "calib.npy"]
    step = "quantize:precision=a8_w4"
    first = ["-p", step, "--save-recipe", "recipe.toml", "-o", "first.fewbits"]
    output_of("optimize", folder / "net.onnx", *calibration, *first)
    second = ["--recipe", "recipe.toml", "-o", "second.fewbits"]
    output_of("optimize", folder / "net.onnx", *calibration, *second)
    assert Path("first.fewbits").read_bytes() == Path("second.fewbits").read_bytes()


def test_eval_of_the_emulator_beside_full_precision(folder, archive):
    data = f"{folder / 'eval.npz'}#images"
    measured = output_of("eval", archive, "--target", "emulator", "--data-path", data)
    assert measured["target"] == "emulator"
    assert measured["images"] == 16
    assert measured["images_per_second"] > 0
    assert measured["metrics"]["fidelity"]["snr_db"] > 20
    assert measured["metrics"]["classification"].keys() == {"top1", "top5"}
    assert measured["full_precision"]["classification"].keys() == {"top1", "top5"}


def test_eval_shows_the_degradation(folder, archive):
    data = f"{folder / 'eval.npz'}#images"
    result = run("eval", archive, "--data-path", data, "--target", "emulator")
    assert result.exit_code == 0
    head = result.stdout.splitlines()[1].split("  ")
    assert [part.strip() for part in head if part.strip()] == [
        "metric",
        "full precision",
        "emulator",
        "degradation",
    ]


def test_eval_of_native_needs_no_calibration(folder):
    data = f"{folder / 'eval.npz'}#images"
    measured = output_of("eval", folder / "net.onnx", "--target", "native", "--data-path", data)
    assert list(measured["metrics"]) == ["classification"]


def test_eval_of_full_precision_is_exact_before_any_step(folder):
    data = ["--data-path", f"{folder / 'eval.npz'}#images", "--evaluator", "fidelity"]
    measured = output_of("eval", folder / "net.onnx", "--target", "full_precision", *data)
    assert measured["metrics"]["fidelity"]["cosine"] == pytest.approx(1.0)


def test_eval_of_a_network_s_own_file_writes_nothing(folder):
    options = ["--calib-path", folder / "calib.npy", "--data-path", f"{folder}/eval.npz#images"]
    measured = output_of("eval", folder / "net.onnx", "--target", "emulator", *options)
    assert measured["metrics"]["fidelity"]["snr_db"] > 20
    assert list(Path().iterdir()) == []


def test_eval_adds_the_stages_that_were_missing_to_the_archive(folder):
    output_of("parse", folder / "net.onnx", "-o", "net.fewbits")
    data = ["--data-path", f"{folder}/eval.npz#images"]
    output_of("eval", "net.fewbits", "--target", "native", *data, "--evaluator", "fidelity")
    assert output_of("info", "net.fewbits")["stage"] == "parsed"
    output_of("eval", "net.fewbits", *data, "--calib-path", folder / "calib.npy")
    assert output_of("info", "net.fewbits")["stages"] == ["parsed", "quantized"]


def test_eval_writes_the_archive_when_asked(folder):
    options = ["--calib-path", folder / "calib.npy", "--data-path", f"{folder}/eval.npz#images"]
    output_of("eval", folder / "net.onnx", *options, "-o", "kept.fewbits")
    assert output_of("info", "kept.fewbits")["stage"] == "quantized"


def test_compile_runs_the_earlier_stages(folder):
    calibration = ["--calib-path", folder / "calib.npy"]
    output_of("compile", folder / "net.onnx", *calibration, "-o", "net.int8.onnx")
    assert [path.name for path in Path().iterdir()] == ["net.int8.onnx"]


def test_compiling_twice_leaves_the_archive_as_it_is(archive):
    output_of("compile", archive, "-o", "once.onnx")
    before = archive.read_bytes()
    assert output_of("compile", archive, "-o", "twice.onnx")["archive"] is None
    assert archive.read_bytes() == before
    assert Path("once.onnx").read_bytes() == Path("twice.onnx").read_bytes()


def test_replay_of_an_untouched_archive_agrees(archive):
    output_of("compile", archive, "-o", "net.int8.onnx")
    replayed = output_of("replay", archive)
    assert replayed["same"] is True
    assert [step["use"] for step in replayed["steps"]] == ["uniform", "cpu"]


def test_a_count_without_data_is_wrong_usage(archive):
    refused(["replay", archive, "--calib-count", "4"], ["--calib-path"], code=2)


def test_replay_says_which_digest_differs(archive):
    model = api.load(archive)
    record = model.history[-1]
    forged = type(record)(**{**vars(record), "output_digest": "0" * 64})
    api.save(model.replace(history=(*model.history[:-1], forged)), archive)
    result = run("replay", archive)
    assert result.exit_code == 1
    assert "000000000000" in result.stdout
    assert "A digest differs." in result.stdout


def test_preprocessing_of_the_archive_serves_eval(folder, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(3)
    for number in range(6):
        pixels = rng.integers(0, 256, (40, 48, 3), np.uint8)
        Image.fromarray(pixels).save(pictures / f"{number}.png")
    text = f"resize={SIDE},crop={SIDE},mean=127,std=64"
    calibration = ["--calib-path", pictures, "--preprocess", text]
    output_of("optimize", folder / "net.onnx", *calibration, "-o", "net.fewbits")
    measured = output_of("eval", "net.fewbits", "--data-path", pictures)
    assert measured["images"] == 6
    assert f"crop={SIDE}" in measured["data"]["preprocess"]


def test_info_counts_parameters_and_macs(folder):
    info = output_of("info", folder / "net.onnx")
    network = onnx.load(folder / "net.onnx")
    sizes = {t.name: int(np.prod(t.dims)) for t in network.graph.initializer}
    weighted = [n for n in network.graph.node if n.op_type in ("Conv", "Gemm")]
    assert info["layers"] == len(weighted)
    assert info["parameters"] >= sum(sizes[n.input[1]] for n in weighted)
    assert info["macs"] > 0


# Bad input -------------------------------------------------------------------------------------


def write_broken(folder, kind):
    """Write a file that cannot be used; return its path."""
    path = folder / "bad.onnx"
    good = (folder / "net.onnx").read_bytes()
    network = onnx.load_from_string(good)
    if kind == "text":
        path.write_text("this is no network\n")
    elif kind == "truncated":
        path.write_bytes(good[: len(good) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "nan":
        weight = next(t for t in network.graph.initializer if len(t.dims) == 4)
        values = onnx.numpy_helper.to_array(weight).copy()
        values.flat[0] = np.nan
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        onnx.save(network, path)
    elif kind == "custom":
        last = network.graph.node[-1]
        last.domain, last.op_type, last.name = "my.ops", "Mystery", "the_mystery"
        network.opset_import.append(helper.make_opsetid("my.ops", 1))
        onnx.save(network, path)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text", ["bad.onnx"]),
        ("truncated", ["bad.onnx"]),
        ("empty", ["bad.onnx"]),
        ("nan", ["NaN"]),
        ("custom", ["the_mystery", "Mystery", "--end-node-names"]),
    ],
)
def test_a_bad_network(folder, kind, words):
    refused(["parse", write_broken(folder, kind), "-o", "bad.fewbits"], words)


def refused(arguments, words, code=1):
    """Run a command that must fail with these words, a hint, and nothing left behind."""
    before = sorted(path.name for path in Path().iterdir())
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ")
    assert "\nhint: " in result.stderr
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr
    assert sorted(path.name for path in Path().iterdir()) == before


def test_a_missing_network(folder):
    refused(["parse", "nowhere.onnx"], ["nowhere.onnx"])


def test_a_dynamic_size_asks_for_input_shape(folder):
    network = onnx.load(folder / "net.onnx")
    dims = network.graph.input[0].type.tensor_type.shape.dim
    for dim, name in zip(dims[2:], ("height", "width"), strict=True):
        dim.Clear()
        dim.dim_param = name
    del network.graph.value_info[:]
    onnx.save(network, folder / "open.onnx")
    refused(["parse", folder / "open.onnx"], ["--input-shape"])
    assert run("parse", folder / "open.onnx", "--input-shape", f"3x{SIDE}x{SIDE}").exit_code == 0


def test_a_network_that_is_quantized_already(folder):
    calibration = ["--calib-path", folder / "calib.npy"]
    output_of("compile", folder / "net.onnx", *calibration, "-o", folder / "qdq.onnx")
    refused(["parse", folder / "qdq.onnx"], ["quantized"])


def test_a_shape_that_is_none(folder):
    refused(["parse", folder / "net.onnx", "--input-shape", "3xbig"], ["3xbig"], code=2)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("quantise", ["'quantise'", "hint: Did you mean 'quantize'? Known: "]),
        ("quantize:precison=a8_w8", ["'precison'", "Did you mean 'precision'?"]),
        ("quantize:precision=a9_w9", ["a9_w9"]),
        ("quantize:precision", ["quantize:precision"]),
    ],
)
def test_an_unknown_step_or_option_names_the_nearest(folder, step, words):
    refused(
        ["optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy", "-p", step], words
    )


def test_quantizing_without_calibration_says_what_to_add(folder):
    refused(["optimize", folder / "net.onnx"], ["--calib-path"])
    data = ["--data-path", folder / "calib.npy"]
    refused(["eval", folder / "net.onnx", *data], ["--calib-path"])
    refused(["compile", folder / "net.onnx", "-o", "out.onnx"], ["--calib-path"])


def test_fewer_images_than_asked_for(folder):
    options = ["--calib-path", folder / "calib.npy", "--calib-count", 99]
    refused(["optimize", folder / "net.onnx", *options], ["24", "99"])


def test_no_data_at_that_path(folder):
    refused(["optimize", folder / "net.onnx", "--calib-path", "gone"], ["gone"])


def test_a_folder_without_images(folder, tmp_path):
    (tmp_path / "void").mkdir()
    options = ["--calib-path", tmp_path / "void", "--preprocess", "resize=8"]
    refused(["optimize", folder / "net.onnx", *options], ["void"])


def test_labels_that_do_not_match(folder, archive):
    np.savez(folder / "odd.npz", images=np.load(folder / "calib.npy"), labels=np.zeros(3, int))
    refused(["eval", archive, "--data-path", f"{folder / 'odd.npz'}#images"], ["3", "24"])


def test_an_unknown_evaluator_and_target(folder, archive):
    data = ["--data-path", folder / "calib.npy"]
    refused(["eval", archive, *data, "--evaluator", "fidelty"], ["Did you mean 'fidelity'?"])
    refused(["eval", archive, *data, "--target", "emulater"], ["'emulator'"], code=2)
    refused(["compile", archive, "--hw-arch", "cpuu", "-o", "x.onnx"], ["Did you mean 'cpu'?"])


def test_an_unknown_preprocessing_option(folder):
    refused(["parse", folder / "net.onnx", "--preprocess", "resise=3"], ["'resise'", "resize"])


@pytest.mark.parametrize("damage", ["truncated", "newer", "climbing", "flipped"])
def test_a_damaged_archive(archive, damage):
    path = archive.with_name(f"{damage}.fewbits")
    write_damaged(archive, path, damage)
    refused(["info", path], [path.name])
    refused(["compile", path, "-o", "out.onnx"], [path.name])


def write_damaged(good, path, damage):
    data = good.read_bytes()
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
        return
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            if name == "manifest.json" and damage == "newer":
                content = json.dumps({**json.loads(content), "format": 99}).encode()
            if name.endswith("model.onnx") and damage == "flipped":
                content = bytes([content[0] ^ 1]) + content[1:]
            copy.writestr(name, content)
        if damage == "climbing":
            copy.writestr("../outside.txt", b"x")


def test_an_output_that_cannot_be_written_is_said_before_the_work(folder):
    calibration = ["--calib-path", folder / "calib.npy"]
    where = ["-o", "missing/net.fewbits"]
    refused(["optimize", folder / "net.onnx", *calibration, *where], ["missing"])
    Path("taken").mkdir()
    refused(["optimize", folder / "net.onnx", *calibration, "-o", "taken"], ["taken"])
    Path("file").touch()
    refused(["parse", folder / "net.onnx", "-o", "file/net.fewbits"], ["file"])


def test_the_network_itself_is_never_overwritten(folder):
    before = (folder / "net.onnx").read_bytes()
    output = ["-o", folder / "net.onnx"]
    refused(["parse", folder / "net.onnx", *output], ["net.onnx"], code=2)
    assert (folder / "net.onnx").read_bytes() == before


def test_a_missing_network_is_an_error_where_the_output_exists(folder):
    Path("old.fewbits").write_text("as it was")
    refused(["parse", folder / "none.onnx", "-o", "old.fewbits"], ["none.onnx"])
    assert Path("old.fewbits").read_text() == "as it was"


def test_the_archive_is_never_replaced_by_what_is_compiled_from_it(archive):
    before = archive.read_bytes()
    refused(["compile", archive, "-o", archive], ["is the archive itself"], code=2)
    assert archive.read_bytes() == before


def test_node_names_may_be_listed_with_blanks_commas_or_options(folder):
    names = [layer["layer"] for layer in layers_of(folder / "net.onnx", folder / "calib.npy")]
    first, last = names[0], names[1]
    forms = [["--end-node-names", first, last], ["--end-node-names", f"{first},{last}"]]
    forms.append(["--end-node-names", first, "--end-node-names", last])
    cut = [output_of("parse", folder / "net.onnx", *form, "-o", "cut.fewbits") for form in forms]
    assert len(cut[0]["outputs"]) == 2
    assert cut[0]["history"] == cut[1]["history"] == cut[2]["history"]
    before = output_of("parse", *forms[0], folder / "net.onnx", "-o", "cut.fewbits")
    assert before["history"] == cut[0]["history"]


def layers_of(network, calibration):
    """Return the layers as the quantizer names them, in order."""
    done = output_of("optimize", network, "--calib-path", calibration, "-o", "all.fewbits")
    return done["history"][-1]["report"]["layers"]


def test_a_full_disk_leaves_no_half_written_file(folder):
    done = fewbits(
        "parse",
        folder / "net.onnx",
        "-o",
        "net.fewbits",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048)),
    )
    assert done.returncode == 1
    assert "net.fewbits cannot be written" in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert list(Path().iterdir()) == []


def fewbits(*arguments, **options):
    """Run the command line as a process of its own."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, **options
    )


def command(*arguments):
    code = "from fewbits.cli.app import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


# Interruption ----------------------------------------------------------------------------------


@pytest.fixture
def slow_steps(tmp_path):
    """The environment of a process that sees a plugin with the steps `touch` and `nap`."""
    site = tmp_path / "site"
    info = site / "fewbits_slow-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "slow.py").write_text(STEPS_PLUGIN)
    (site / "slow_parts.py").write_text(STEPS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fewbits-slow\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fewbits.plugins]\nslow = slow\n")
    return {**os.environ, "PYTHONPATH": str(site)}


def test_a_progress_hook_that_raises_is_named_and_the_run_goes_on(folder, slow_steps):
    site = Path(slow_steps["PYTHONPATH"])
    with (site / "slow.py").open("a") as module:
        module.write("\n@hookimpl\ndef progress(done):\n    raise ValueError('too loud')\n")
    calibration = ["--calib-path", folder / "calib.npy"]
    done = fewbits("optimize", folder / "net.onnx", *calibration, "--json", env=slow_steps)
    assert done.returncode == 0
    assert json.loads(done.stdout)["stage"] == "quantized"
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "plugin 'slow' (fewbits-slow 1.0)" in warnings[0]
    assert "too loud" in warnings[0]


def test_a_step_that_fails_keeps_what_came_before_it(folder, slow_steps):
    chain = ["-p", "touch", "-p", "nap", "-p", "quantize"]
    optimize = ["optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy", *chain]
    done = fewbits(*optimize, env={**slow_steps, "NAP": "never"})
    assert done.returncode == 1
    assert "error: It does not fit." in done.stderr
    assert "net.fewbits.checkpoint; the same command with --resume goes on" in done.stderr
    assert [path.name for path in Path().iterdir()] == ["net.fewbits.checkpoint"]


def interrupt_when(process, path, seconds=60):
    """Send Ctrl-C once `path` exists."""
    limit = time.monotonic() + seconds
    while not path.exists() and process.poll() is None:
        assert time.monotonic() < limit, "the checkpoint never came"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=seconds)


@pytest.mark.slow
def test_ctrl_c_keeps_the_checkpoint_and_resume_gives_the_same_digest(folder, slow_steps):
    chain = ["-p", "touch", "-p", "nap", "-p", "quantize"]
    optimize = ["optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy", *chain]
    straight = fewbits(*optimize, "-o", "straight.fewbits", env=slow_steps)
    assert straight.returncode == 0, straight.stderr

    process = subprocess.Popen(
        command(*optimize, "-o", "broken.fewbits"),
        env={**slow_steps, "NAP": "60"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoint = Path("broken.fewbits.checkpoint")
    _, stderr = interrupt_when(process, checkpoint)
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert str(checkpoint) in stderr
    assert "--resume" in stderr
    assert "Traceback" not in stderr
    assert checkpoint.exists()
    assert not Path("broken.fewbits").exists()

    again = fewbits(*optimize, "-o", "broken.fewbits", env=slow_steps)
    assert again.returncode == 2
    assert "--resume" in again.stderr

    resumed = fewbits(*optimize, "-o", "broken.fewbits", "--resume", env=slow_steps)
    assert resumed.returncode == 0, resumed.stderr
    assert not checkpoint.exists()
    results = [digest(api.load(Path(f"{name}.fewbits"))) for name in ("straight", "broken")]
    assert results[0] == results[1]


@pytest.mark.slow
def test_restart_drops_the_checkpoint(folder, slow_steps):
    Path("net.fewbits.checkpoint").write_bytes(b"left behind")
    optimize = ["optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy"]
    done = fewbits(*optimize, "--restart", env=slow_steps)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["net.fewbits"]


def test_resume_without_a_checkpoint_is_wrong_usage(folder):
    calibration = ["--calib-path", folder / "calib.npy"]
    refused(["optimize", folder / "net.onnx", *calibration, "--resume"], ["checkpoint"], code=2)


def test_a_quantized_archive_takes_no_second_quantizer_unless_restarted(folder, archive):
    again = ["optimize", archive, "--calib-path", folder / "calib.npy", "-p"]
    step = "quantize:precision=a8_w4"
    result = run(*again, step, "--restart")
    assert result.exit_code == 0
    assert set(output_of("info", archive)["precisions"]) == {"a8_w4"}


# Real networks ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the shared models are not here")
def test_resnet20_from_one_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = SHARED / "data/cifar10_jpeg.npz"
    text = "mean=[123.675,116.28,103.53],std=[58.395,57.12,57.375]"
    calibration = ["--calib-path", f"{data}#calib_images", "--calib-count", 128]
    network = SHARED / "models/resnet20_cifar10_bn.onnx"
    output_of("optimize", network, *calibration, "--preprocess", text, "-o", "r.fewbits")
    options = ["--data-path", f"{data}#images", "--data-count", 1024]
    measured = output_of("eval", "r.fewbits", "--target", "emulator", *options)
    top1 = measured["metrics"]["classification"]["top1"]
    assert top1 > measured["full_precision"]["classification"]["top1"] - 2
    output_of("compile", "r.fewbits", "-o", "r.int8.onnx")
    assert Path("r.int8.onnx").stat().st_size < 0.5 * network.stat().st_size
