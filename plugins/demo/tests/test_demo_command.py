import json

import numpy as np
import onnxruntime as ort
import pytest
from fewbits.cli.app import app
from fewbits_demo.digits import Digits
from typer.testing import CliRunner


def run(*arguments):
    return CliRunner().invoke(app, ["demo", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def figures(folder):
    result = run("--json", "--output", folder)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


VERSIONS = ["float", "a8_w8", "a8_w4", "a8_w4-recovered"]


def row(figures, name):
    return next(row for row in figures["rows"] if row["name"] == name)


def top1_of_file(path):
    """Measure a compiled file with ONNX Runtime alone."""
    with np.load(Digits().evaluation().partition("#")[0]) as held:
        images, labels = held["images"], held["labels"]
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: as_input(images)})
    return 100 * (logits.argmax(axis=1) == labels).mean()


def as_input(images):
    return (images.transpose(0, 3, 1, 2).astype(np.float32) - 73) / 90


def test_figures_of_float_eight_bits_and_four_bit_weights(figures):
    assert [r["name"] for r in figures["rows"]] == VERSIONS
    assert figures["missing"] == []
    assert (figures["calibration_images"], figures["evaluation_images"]) == (256, 540)
    assert row(figures, "float")["top1"] >= 98
    assert row(figures, "a8_w8")["agreement"] >= 99
    assert row(figures, "a8_w8")["snr_db"] > row(figures, "a8_w4")["snr_db"] + 6


def test_recovery_gains_at_the_same_size(figures):
    before, after = row(figures, "a8_w4"), row(figures, "a8_w4-recovered")
    assert after["steps"][1:] == ["gptq", "ibc"]
    assert after["weight_bytes"] == before["weight_bytes"]
    assert after["snr_db"] > before["snr_db"] + 1


def test_without_the_recovery_s_plugins_the_demo_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("FEWBITS_DISABLE", "gptq,ibc")
    result = run("--output", tmp_path)
    assert result.exit_code == 0, result.output
    said = "a8_w4-recovered is left out, because gptq and ibc cannot be used here."
    assert said in result.stdout
    assert not (tmp_path / "digits-a8_w4-recovered.onnx").exists()


@pytest.mark.parametrize("name", VERSIONS)
def test_accuracy_is_what_onnx_runtime_finds_in_the_file(figures, name):
    said = row(figures, name)
    assert said["top1"] == pytest.approx(top1_of_file(said["file"]), abs=1e-3)


def test_weights_shrink_with_their_bits(figures):
    full, eight, four = (row(figures, name)["weight_bytes"] for name in VERSIONS[:3])
    assert eight < 0.4 * full
    assert four < 0.7 * eight


def test_files_lie_where_the_figures_say(figures, folder):
    assert (folder / "digits.onnx").samefile(row(figures, "float")["file"])
    for said in figures["rows"][1:]:
        assert (folder / f"digits-{said['name']}.fewbits").samefile(said["archive"])
        assert (folder / f"digits-{said['name']}.onnx").samefile(said["file"])
        assert (folder / f"digits-{said['name']}.onnx").stat().st_size == said["file_bytes"]
    left = {path.name for path in folder.iterdir()}
    assert {"train.npz", "test.npz"} < left
    assert len(left) == 9


def test_noisiest_layers_come_first(figures):
    layers = row(figures, "a8_w4")["layers"]
    worst = [layers[name] for name in figures["worst_layers"]]
    assert worst == sorted(layers.values())[: len(worst)]
    assert len(layers) == 29


def test_same_seed_writes_the_same_files(figures, folder, tmp_path):
    assert run("--quiet", "--output", tmp_path).exit_code == 0
    for path in folder.glob("*.onnx"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_prints_both_tables_and_the_files(tmp_path):
    result = run("--output", tmp_path / "new")
    assert result.exit_code == 0, result.output
    for text in (
        "float",
        "a8_w8",
        "a8_w4",
        "top-1",
        "noisiest layers",
        "archive",
        "digits-a8_w4.onnx",
    ):
        assert text in result.stdout


def test_output_that_is_a_file_is_a_clear_error(tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("")
    result = run("--output", taken)
    assert result.exit_code == 1
    assert f"{taken} is not a folder" in result.stderr
    assert taken.read_text() == ""
