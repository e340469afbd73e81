"""The command line on bad input: a clear word, and no half-written file."""

import json
import resource
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

SIDE = 8


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
def test_a_bad_network(folder, kind, words, refused):
    refused(["parse", write_broken(folder, kind), "-o", "bad.fewbits"], words)


def test_a_missing_network(folder, refused):
    refused(["parse", "nowhere.onnx"], ["nowhere.onnx"])


def test_a_dynamic_size_asks_for_input_shape(folder, run, refused):
    network = onnx.load(folder / "net.onnx")
    dims = network.graph.input[0].type.tensor_type.shape.dim
    for dim, name in zip(dims[2:], ("height", "width"), strict=True):
        dim.Clear()
        dim.dim_param = name
    del network.graph.value_info[:]
    onnx.save(network, folder / "open.onnx")
    refused(["parse", folder / "open.onnx"], ["--input-shape"])
    assert run("parse", folder / "open.onnx", "--input-shape", f"3x{SIDE}x{SIDE}").exit_code == 0


def test_a_network_that_is_quantized_already(folder, output_of, refused):
    calibration = ["--calib-path", folder / "calib.npy"]
    output_of("compile", folder / "net.onnx", *calibration, "-o", folder / "qdq.onnx")
    refused(["parse", folder / "qdq.onnx"], ["quantized"])


def test_a_shape_that_is_none(folder, refused):
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
def test_an_unknown_step_or_option_names_the_nearest(folder, step, words, refused):
    refused(
        ["optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy", "-p", step], words
    )


def test_quantizing_without_calibration_says_what_to_add(folder, refused):
    refused(["optimize", folder / "net.onnx"], ["--calib-path"])
    data = ["--data-path", folder / "calib.npy", "--target", "emulator"]
    refused(["eval", folder / "net.onnx", *data], ["--calib-path"])
    refused(["compile", folder / "net.onnx", "-o", "out.onnx"], ["--calib-path"])


def test_fewer_images_than_asked_for(folder, refused):
    options = ["--calib-path", folder / "calib.npy", "--calib-count", 99]
    refused(["optimize", folder / "net.onnx", *options], ["24", "99"])


def test_no_data_at_that_path(folder, refused):
    refused(["optimize", folder / "net.onnx", "--calib-path", "gone"], ["gone"])


def test_a_folder_without_images(folder, tmp_path, refused):
    (tmp_path / "void").mkdir()
    options = ["--calib-path", tmp_path / "void", "--preprocess", "resize=8"]
    refused(["optimize", folder / "net.onnx", *options], ["void"])


def test_labels_that_do_not_match(folder, archive, refused):
    np.savez(folder / "odd.npz", images=np.load(folder / "calib.npy"), labels=np.zeros(3, int))
    refused(["eval", archive, "--data-path", f"{folder / 'odd.npz'}#images"], ["3", "24"])


def test_an_unknown_evaluator_and_target(folder, archive, refused):
    data = ["--data-path", folder / "calib.npy"]
    refused(["eval", archive, *data, "--evaluator", "fidelty"], ["Did you mean 'fidelity'?"])
    refused(["eval", archive, *data, "--target", "emulater"], ["'emulator'"], code=2)
    refused(["compile", archive, "--hw-arch", "cpuu", "-o", "x.onnx"], ["Did you mean 'cpu'?"])


def test_an_unknown_preprocessing_option(folder, refused):
    refused(["parse", folder / "net.onnx", "--preprocess", "resise=3"], ["'resise'", "resize"])


@pytest.mark.parametrize("damage", ["truncated", "newer", "climbing", "flipped"])
def test_a_damaged_archive(archive, damage, refused):
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


def test_an_output_that_cannot_be_written_is_said_before_the_work(folder, refused):
    calibration = ["--calib-path", folder / "calib.npy"]
    where = ["-o", "missing/net.fewbits"]
    refused(["optimize", folder / "net.onnx", *calibration, *where], ["missing"])
    Path("taken").mkdir()
    refused(["optimize", folder / "net.onnx", *calibration, "-o", "taken"], ["taken"])
    Path("file").touch()
    refused(["parse", folder / "net.onnx", "-o", "file/net.fewbits"], ["file"])


def test_the_network_itself_is_never_overwritten(folder, refused):
    before = (folder / "net.onnx").read_bytes()
    output = ["-o", folder / "net.onnx"]
    refused(["parse", folder / "net.onnx", *output], ["net.onnx"], code=2)
    assert (folder / "net.onnx").read_bytes() == before


def test_a_missing_network_is_an_error_where_the_output_exists(folder, refused):
    Path("old.fewbits").write_text("as it was")
    refused(["parse", folder / "none.onnx", "-o", "old.fewbits"], ["none.onnx"])
    assert Path("old.fewbits").read_text() == "as it was"


def test_the_archive_is_never_replaced_by_what_is_compiled_from_it(archive, refused):
    before = archive.read_bytes()
    refused(["compile", archive, "-o", archive], ["is the archive itself"], code=2)
    assert archive.read_bytes() == before


def test_a_full_disk_leaves_no_half_written_file(folder, fewbits):
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


def test_a_count_without_data_is_wrong_usage(archive, refused):
    refused(["replay", archive, "--calib-count", "4"], ["--calib-path"], code=2)
