"""The command line on real files: the whole workflow."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from fewbits import api
from PIL import Image

SIDE = 8
SHARED = Path(__file__).resolve().parents[3] / "shared"


def test_parse_then_optimize_then_compile_in_one_archive(folder, output_of):
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


def test_default_output_lies_where_the_command_runs(folder, output_of):
    output_of("optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy")
    assert Path("net.fewbits").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["calib.npy", "eval.npz", "net.onnx"]


def test_optimize_shows_what_each_step_did(folder, run):
    result = run(
        "optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy", "-p", "quantize"
    )
    assert result.exit_code == 0
    assert result.stdout.startswith("step ")
    row = next(line for line in result.stdout.splitlines() if line.startswith("uniform"))
    assert "a8_w8" in row
    assert "Wrote net.fewbits" in result.stdout


def test_quiet_prints_nothing(folder, run):
    result = run("optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy", "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_the_precision_of_a_step_reaches_the_model(folder, output_of):
    step = "quantize:precision=a8_w4,weights=per_tensor"
    output_of("optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy", "-p", step)
    info = output_of("info", "net.fewbits")
    assert set(info["precisions"]) == {"a8_w4"}
    assert info["bytes"]["quantized"] < info["bytes"]["float32"] / 2


def test_a_saved_recipe_gives_the_same_archive(folder, output_of):
    calibration = ["--calib-path", folder / "calib.npy"]
    step = "quantize:precision=a8_w4"
    first = ["-p", step, "--save-recipe", "recipe.toml", "-o", "first.fewbits"]
    output_of("optimize", folder / "net.onnx", *calibration, *first)
    second = ["--recipe", "recipe.toml", "-o", "second.fewbits"]
    output_of("optimize", folder / "net.onnx", *calibration, *second)
    assert Path("first.fewbits").read_bytes() == Path("second.fewbits").read_bytes()


def test_eval_of_the_emulator_beside_full_precision(folder, archive, output_of):
    data = f"{folder / 'eval.npz'}#images"
    measured = output_of("eval", archive, "--target", "emulator", "--data-path", data)
    assert measured["target"] == "emulator"
    assert measured["images"] == 16
    assert measured["images_per_second"] > 0
    assert measured["metrics"]["fidelity"]["snr_db"] > 20
    assert measured["metrics"]["classification"].keys() == {"top1", "top5"}
    assert measured["full_precision"]["classification"].keys() == {"top1", "top5"}


def test_eval_shows_the_degradation(folder, archive, run):
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


def test_eval_of_native_needs_no_calibration(folder, output_of):
    data = f"{folder / 'eval.npz'}#images"
    measured = output_of("eval", folder / "net.onnx", "--target", "native", "--data-path", data)
    assert list(measured["metrics"]) == ["classification"]


def test_eval_of_full_precision_is_exact_before_any_step(folder, output_of):
    data = ["--data-path", f"{folder / 'eval.npz'}#images", "--evaluator", "fidelity"]
    measured = output_of("eval", folder / "net.onnx", "--target", "full_precision", *data)
    assert measured["metrics"]["fidelity"]["cosine"] == pytest.approx(1.0)


def test_eval_of_a_network_s_own_file_writes_nothing(folder, output_of):
    options = ["--calib-path", folder / "calib.npy", "--data-path", f"{folder}/eval.npz#images"]
    measured = output_of("eval", folder / "net.onnx", "--target", "emulator", *options)
    assert measured["metrics"]["fidelity"]["snr_db"] > 20
    assert list(Path().iterdir()) == []


def test_eval_adds_the_stages_that_were_missing_to_the_archive(folder, output_of):
    output_of("parse", folder / "net.onnx", "-o", "net.fewbits")
    data = ["--data-path", f"{folder}/eval.npz#images"]
    output_of("eval", "net.fewbits", "--target", "native", *data, "--evaluator", "fidelity")
    assert output_of("info", "net.fewbits")["stage"] == "parsed"
    output_of("eval", "net.fewbits", *data, "--calib-path", folder / "calib.npy")
    assert output_of("info", "net.fewbits")["stage"] == "quantized"


def test_eval_writes_the_archive_when_asked(folder, output_of):
    options = ["--calib-path", folder / "calib.npy", "--data-path", f"{folder}/eval.npz#images"]
    output_of("eval", folder / "net.onnx", *options, "-o", "kept.fewbits")
    assert output_of("info", "kept.fewbits")["stage"] == "quantized"


def test_compile_runs_the_earlier_stages(folder, output_of):
    calibration = ["--calib-path", folder / "calib.npy"]
    output_of("compile", folder / "net.onnx", *calibration, "-o", "net.int8.onnx")
    assert [path.name for path in Path().iterdir()] == ["net.int8.onnx"]


def test_compiling_twice_leaves_the_archive_as_it_is(archive, output_of):
    output_of("compile", archive, "-o", "once.onnx")
    before = archive.read_bytes()
    assert output_of("compile", archive, "-o", "twice.onnx")["archive"] is None
    assert archive.read_bytes() == before
    assert Path("once.onnx").read_bytes() == Path("twice.onnx").read_bytes()


def test_replay_of_an_untouched_archive_agrees(archive, output_of):
    output_of("compile", archive, "-o", "net.int8.onnx")
    replayed = output_of("replay", archive)
    assert replayed["same"] is True
    assert [step["use"] for step in replayed["steps"]] == ["uniform", "cpu"]


def test_replay_says_which_digest_differs(archive, run):
    model = api.load(archive)
    record = model.history[-1]
    forged = type(record)(**{**vars(record), "output_digest": "0" * 64})
    api.save(model.replace(history=(*model.history[:-1], forged)), archive)
    result = run("replay", archive)
    assert result.exit_code == 1
    assert "000000000000" in result.stdout
    assert "A digest differs." in result.stdout


def test_preprocessing_of_the_archive_serves_eval(folder, tmp_path, output_of):
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


def test_info_counts_parameters_and_macs(folder, output_of):
    info = output_of("info", folder / "net.onnx")
    network = onnx.load(folder / "net.onnx")
    sizes = {t.name: int(np.prod(t.dims)) for t in network.graph.initializer}
    weighted = [n for n in network.graph.node if n.op_type in ("Conv", "Gemm")]
    assert info["layers"] == len(weighted)
    assert info["parameters"] >= sum(sizes[n.input[1]] for n in weighted)
    assert info["macs"] > 0


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the shared models are not here")
def test_resnet20_from_one_command(tmp_path, monkeypatch, output_of):
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


def test_node_names_may_be_listed_with_blanks_commas_or_options(folder, output_of):
    names = [
        layer["layer"] for layer in layers_of(folder / "net.onnx", folder / "calib.npy", output_of)
    ]
    first, last = names[0], names[1]
    forms = [["--end-node-names", first, last], ["--end-node-names", f"{first},{last}"]]
    forms.append(["--end-node-names", first, "--end-node-names", last])
    cut = [output_of("parse", folder / "net.onnx", *form, "-o", "cut.fewbits") for form in forms]
    assert len(cut[0]["outputs"]) == 2
    assert cut[0]["history"] == cut[1]["history"] == cut[2]["history"]
    before = output_of("parse", *forms[0], folder / "net.onnx", "-o", "cut.fewbits")
    assert before["history"] == cut[0]["history"]


def layers_of(network, calibration, output_of):
    """Return the layers as the quantizer names them, in order."""
    done = output_of("optimize", network, "--calib-path", calibration, "-o", "all.fewbits")
    return done["history"][-1]["report"]["layers"]
