"""`fewbits analyze` from an archive or a network, as a table, as JSON and as a picture."""

import pytest


def test_an_archive_as_json(archive, folder, output_of):
    found = output_of("analyze", archive, "--data-path", folder / "calib.npy")
    assert (found["mode"], found["target"], found["images"]) == ("simple", "cpu", 24)
    layers = {each["layer"]: each for each in found["layers"]}
    assert len(layers) == len(found["layers"]) >= 4
    assert all(each["snr_db"] > 10.0 for each in found["layers"])
    assert list(found["outputs"])


def test_one_layer_at_a_time(archive, folder, output_of):
    path = ["--data-path", folder / "calib.npy"]
    found = output_of("analyze", archive, *path, "--analyze-mode", "advanced")
    assert found["images"] == 16
    assert sum(each["alone"]["share"] for each in found["layers"]) == pytest.approx(1.0)
    name = found["layers"][1]["layer"]
    some = output_of("analyze", archive, *path, "--mode", "advanced", "--layers", name)
    assert [each["layer"] for each in some["layers"]] == [name]


def test_the_layers_that_make_most_noise_are_named(archive, folder, run):
    path = ["--data-path", folder / "calib.npy", "--mode", "advanced"]
    result = run("analyze", archive, *path)
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("most of the noise")]
    shares = [float(part.split()[-1].rstrip("%")) for part in line.split(": ")[1].split(", ")]
    assert shares == sorted(shares, reverse=True)


def test_a_network_is_quantized_first(folder, run):
    result = run("analyze", folder / "net.onnx", "--calib-path", folder / "calib.npy")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].endswith("simple, 24 images, numerics of cpu")
    assert lines[1].split()[:4] == ["layer", "op", "mode", "SNR"]
    assert any(line.startswith("outputs: ") for line in lines)


def test_findings_stand_below_the_table_with_their_remedy(archive, folder, run):
    path = ["--data-path", folder / "calib.npy"]
    result = run("analyze", archive, *path, "--limit", "snr=139", "--data-count", 4)
    assert result.exit_code == 0, result.output
    assert "below 139" in result.stdout
    assert "    → " in result.stdout
    quiet = run("analyze", archive, *path, "--limit", "snr=-139", "--limit", "dead=1")
    assert "below" not in quiet.stdout


def test_the_picture(archive, folder, run):
    path = ["--data-path", folder / "calib.npy"]
    assert run("analyze", archive, *path, "--plot", "noise.svg", "--quiet").stdout == ""
    with open("noise.svg", encoding="utf-8") as file:
        text = file.read()
    assert text.startswith("<svg ")
    assert "SNR in dB" in text


@pytest.mark.parametrize(
    ("options", "words", "code"),
    [
        (["--mode", "simpel"], ["no mode 'simpel'", "simple"], 2),
        (["--limit", "snr"], ["--limit 'snr'", "--limit snr=NUMBER"], 2),
        (["--limit", "snt=3"], ["--limit", "snr"], 1),
        (["--layers", "nothing"], ["no layer matches 'nothing'"], 1),
        (["--plot", "missing/noise.svg"], ["no folder"], 1),
    ],
)
def test_what_is_refused(options, words, code, archive, folder, refused):
    refused(["analyze", archive, "--data-path", folder / "calib.npy", *options], words, code)


def test_without_samples_it_says_how_to_give_some(archive, refused):
    refused(["analyze", archive], ["nothing to measure", "--data-path"], 2)
