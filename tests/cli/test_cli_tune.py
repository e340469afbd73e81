"""`fewbits tune` on real files: tables, archives, interruption, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from fewbits import api
from fewbits.recipe import Recipe
from fewbits.tuner import Bench

LEVELS = ["--levels", "0", "--compressions", "0,5"]


@pytest.fixture
def files(folder):
    """The network, its calibration data and labels that the float network gives itself."""
    model = api.parse(folder / "net.onnx")
    with np.load(folder / "eval.npz") as held:
        images = held["images"]
    (logits,) = api._float(model, model.stage, None).run({"image": images}).values()
    np.savez(folder / "own.npz", images=images, labels=logits.argmax(axis=1))
    calibration = ["--calib-path", folder / "calib.npy"]
    return [folder / "net.onnx", *calibration, "--data-path", f"{folder}/own.npz#images"]


def test_the_smallest_within_the_drop_is_written(files, run, output_of):
    result = run("tune", *files, "--max-drop", 100, *LEVELS, "--save-recipe", "w.toml")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "at most 100 % of top1 lost, on 16 images" in lines[0]
    assert [line.split()[-1] for line in lines if line.strip().startswith("0")] == [
        "within",
        "smallest",
    ]
    assert "Smallest: optimization level 0, compression level 5: -p equalization" in result.stdout
    assert "measure it on others" in lines[-1]
    assert "compression level 0: 100, drop 0: within the goal" in result.stderr
    assert set(output_of("info", "net.fewbits")["precisions"]) == {"a8_w4"}
    assert [path.name for path in Path().iterdir() if "tune" in path.name] == []
    again = ["--recipe", "w.toml", "-o", "again.fewbits"]
    assert run("optimize", *files[:3], *again).exit_code == 0
    digests = [api.load(n).history[-1].output_digest for n in ("net.fewbits", "again.fewbits")]
    assert digests[0] == digests[1]


def test_without_labels_the_outputs_must_be_close_enough(files, output_of):
    found = output_of("tune", *files, "--min-snr", 20, *LEVELS)
    assert found["goal"]["text"] == "snr_db at least 20 dB"
    eight, four = found["trials"]
    assert eight["value"] > four["value"]
    assert found["best"]["compression"] == (5 if four["within"] else 0)
    assert Recipe.from_toml(found["recipe"]).steps[0].use == "equalization"
    info = output_of("info", "net.fewbits")
    assert info["history"][-1]["level"]["tuned"]["images"] == 16


def test_where_nothing_fits_all_trials_are_shown_and_the_closest_named(files, run):
    result = run("tune", *files, "--min-snr", 200, *LEVELS)
    assert result.exit_code == 1
    assert "missed" in result.stdout
    assert "The best, optimization level 0, compression level 0, has" in result.stderr
    assert "hint: Allow more" in result.stderr
    assert not Path("net.fewbits").exists()
    assert Path("net.fewbits.tune.json").exists()
    moved = run("tune", *files, "--min-snr", 10, *LEVELS, "--resume", "--json")
    assert moved.exit_code == 0, moved.output
    assert json.loads(moved.stdout)["best"]["optimization"] == 0
    assert not Path("net.fewbits.tune.json").exists()


def test_an_interruption_leaves_whole_files_to_go_on_from(files, run, monkeypatch):
    attempt = Bench.attempt

    def stop(self, optimization, compression):
        if compression == 5:
            raise KeyboardInterrupt
        return attempt(self, optimization, compression)

    monkeypatch.setattr(Bench, "attempt", stop)
    options = [*files, "--min-snr", 10, *LEVELS]
    result = run("tune", *options)
    assert result.exit_code == 130
    assert "net.fewbits.tune.json" in result.stderr
    assert "--resume" in result.stderr
    assert api.load("net.fewbits.tune").precisions
    assert not Path("net.fewbits").exists()
    refused = run("tune", *options)
    assert refused.exit_code == 2
    assert "--resume" in refused.stderr
    monkeypatch.setattr(Bench, "attempt", attempt)
    result = run("tune", *options, "--resume")
    assert result.exit_code == 0, result.output
    assert "compression level 5" in result.stdout
    assert sorted(path.name for path in Path().iterdir()) == ["net.fewbits"]


def test_quiet_prints_nothing(files, run):
    result = run("tune", *files, "--min-snr", 10, "--levels", 0, "--compressions", 0, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_what_is_refused_leaves_nothing_behind(files, folder, refused):
    refused(["tune", *files], ["one goal"], code=2)
    refused(["tune", *files, "--max-drop", 1, "--min-snr", 1], ["one goal"], code=2)
    refused(["tune", *files, "--min-snr", 1, "--levels", "0;1"], ["no list of levels"], code=2)
    refused(["tune", *files, "--min-snr", 1, "--levels", "9"], ["level 9"], code=2)
    refused(["tune", *files, "--min-snr", 1, "--levels", "2"], ["1024", "24"])
    refused(["tune", *files, "--min-snr", 1, "--resume"], ["nothing to resume"], code=2)
    unlabelled = [*files[:3], "--data-path", folder / "calib.npy"]
    refused(["tune", *unlabelled, "--max-drop", 1], ["needs labels", "--min-snr"], code=2)
    refused(["tune", *files, "--max-drop", 1, "--evaluator", "topone"], ["topone"])


def test_a_quantized_archive_begins_again_only_when_asked(files, archive, run, refused):
    data = files[1:]
    refused(["tune", archive, *data, "--min-snr", 10, *LEVELS, "-o", "t.fewbits"], ["--restart"])
    options = ["--min-snr", 10, *LEVELS, "-o", "t.fewbits", "--restart"]
    result = run("tune", archive, *data, *options)
    assert result.exit_code == 0, result.output
    assert [r.use for r in api.load("t.fewbits").history][1:] == ["equalization", "uniform"]
