"""What the compiler is handed, held against a stand-in that refuses what is not documented."""

import ast
import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from fewbits.builtin.uniform import UniformQuantizer
from fewbits.data import ArrayDataset
from fewbits.errors import DataError, TargetError
from fewbits.interfaces import Context
from fewbits.model import Precision, Stage
from fewbits.provenance import Report, StepRecord
from fewbits.testing import Net, toys
from fewbits_hailo import handed_script
from fewbits_hailo.build import as_named
from fewbits_hailo.handover import prepare, program, write
from fewbits_hailo.target import Hailo8

SAMPLES = 12
#: toys of which every op is a layer that the stand-in knows.
PLAIN = ["conv_chain", "depthwise", "residual", "concat", "gemm", "two_inputs", "two_outputs"]


def quantized(toy, **options):
    model = toys.TOYS[toy]()
    context = Context(Hailo8(), toys.calibration(model), threads=1)
    return UniformQuantizer(UniformQuantizer.Options(**options)).apply(model, context).model


def samples(model, count=SAMPLES):
    return toys.calibration(model, count, seed=3)


def with_lines(model, *lines):
    """The model with a script in its history, as if `--model-script` had been given."""
    options = {"lines": list(lines), "source": ""}
    record = StepRecord(
        "hailo_script", "", "", options, 0, {}, "hailo8", "", "", 0.0, Report(False)
    )
    return model.replace(history=(*model.history, record))


def script_of(model):
    return prepare(model, "hailo8", samples(model)).script()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "bundle"
    made.mkdir()
    return made


@pytest.mark.parametrize("toy", PLAIN)
def test_the_compiler_takes_what_it_is_handed(toy, compiler):
    model = quantized(toy)
    data = Hailo8().compile(model, samples(model))
    assert data.startswith(compiler.MAGIC)
    assert data == Hailo8().compile(model, samples(model))


def test_nothing_is_left_for_the_compiler_to_do_again():
    script = script_of(quantized("conv_chain"))
    for line in (
        "model_optimization_flavor(optimization_level=-100, compression_level=0)",
        "model_optimization_config(calibration, batch_size=8, calibset_size=12)",
        "pre_quantization_optimization(equalization, policy=disabled)",
        "pre_quantization_optimization(weights_clipping, layers={*}, mode=disabled)",
        "pre_quantization_optimization(activation_clipping, layers={*}, mode=disabled)",
        "post_quantization_optimization(bias_correction, policy=disabled)",
        "post_quantization_optimization(finetune, policy=disabled)",
        "post_quantization_optimization(adaround, policy=disabled)",
    ):
        assert line in script.splitlines()


def test_ranges_are_those_of_the_encodings_activations_included():
    model = quantized("conv_chain")
    names = {"conv_0": "conv1", "conv_2": "conv2", "conv_4": "conv3"}
    written = handed_script.written_encodings(model, names)
    assert list(written) == ["input_layer1", "conv1", "conv2", "conv3"]
    assert written["input_layer1"] is model.encodings["image"]
    relu, clip = (n for n in model.graph if n.op_type in ("Relu", "Clip"))
    assert written["conv1"] is model.encodings[relu.outputs[0].name]
    assert written["conv2"] is model.encodings[clip.outputs[0].name]
    low, high = float(written["conv2"].low), float(written["conv2"].high)
    assert f"quantization_param(conv2, force_range_out=[{low!r}, {high!r}])" in script_of(model)


def test_precision_modes_other_than_the_compilers_own_are_said():
    layers = {"conv_2": "a8_w4", "conv_4": "a16_w16"}
    model = quantized("residual", layers=layers)
    assert model.precisions["conv_2"] == Precision(8, 4)
    script = script_of(model)
    assert "quantization_param(conv2, precision_mode=a8_w4)" in script
    assert "quantization_param(conv3, precision_mode=a16_w16)" in script
    assert "precision_mode=a8_w8" not in script


def test_inputs_and_outputs_of_16_bits_are_said(compiler):
    model = quantized("conv_chain", precision="a16_w16")
    script = script_of(model)
    for name in ("input_layer1", "output_layer1", "conv1", "conv3"):
        assert f"quantization_param({name}, precision_mode=a16_w16)" in script
    assert Hailo8().compile(model, samples(model))


def test_lines_for_the_compiler_alone_come_last_in_order():
    lines = (
        "performance_param(compiler_optimization_level=max)",
        "context_switch_param(mode=allowed)",
    )
    script = script_of(with_lines(quantized("conv_chain"), *lines)).splitlines()
    assert script[-3:] == [handed_script.MARK, *lines]


def test_files_are_complete_and_the_same_each_time(folder, tmp_path):
    model = quantized("residual")
    files = write(prepare(model, "hailo8", samples(model)), folder)
    assert sorted(files) == sorted(folder.iterdir())
    names = {file.name for file in files}
    assert names == {
        "residual.onnx",
        "residual.alls",
        "calibration.npy",
        "plan.json",
        "compile.py",
        "README.md",
    }
    again = tmp_path / "again"
    again.mkdir()
    write(prepare(model, "hailo8", samples(model)), again)
    assert all((again / name).read_bytes() == (folder / name).read_bytes() for name in names)
    page = (folder / "README.md").read_text()
    assert "residual for hailo8" in page
    assert "12 samples" in page


def test_samples_are_written_channels_last_as_the_network_takes_them(folder):
    model = quantized("two_inputs")
    data = samples(model)
    write(prepare(model, "hailo8", data), folder)
    plan = json.loads((folder / "plan.json").read_text())
    for name, file in plan["calibration"].items():
        array = np.load(folder / file)
        assert array.dtype == np.float32
        assert np.array_equal(array, np.moveaxis(data.inputs[name], 1, -1))


def test_vectors_and_sequences_have_a_layout_too(folder):
    net = Net("vector")
    net.output(net.gemm(net.input("x", 6), 6, 4), 4)
    model = net.build()
    context = Context(Hailo8(), toys.calibration(model), threads=1)
    model = UniformQuantizer().apply(model, context).model
    write(prepare(model, "hailo8", samples(model)), folder)
    assert np.load(folder / "calibration.npy").shape == (SAMPLES, 6)


def test_the_program_needs_the_compiler_numpy_and_python_alone():
    tree = ast.parse(program())
    found = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert found - set(sys.stdlib_module_names) == {"numpy", "hailo_sdk_client"}
    assert "type: ignore" not in program()


@pytest.mark.parametrize("har", [False, True])
@pytest.mark.parametrize("toy", ["residual", "two_inputs"])
def test_one_command_in_the_folder_makes_the_hef(toy, har, folder, tmp_path, compiler):
    model = quantized(toy)
    write(prepare(model, "hailo8", samples(model)), folder)
    packages = tmp_path / "packages"
    packages.mkdir()
    shutil.copy(compiler.__file__, packages / "hailo_sdk_client.py")
    command = [sys.executable, folder / "compile.py", *(["--har"] if har else [])]
    environment = {"PYTHONPATH": str(packages), "PATH": ""}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"Wrote {folder / toy}.hef"
    assert (folder / f"{toy}.hef").read_bytes() == Hailo8().compile(model, samples(model))
    assert (folder / f"{toy}.har").exists() is har


def test_names_that_the_compiler_gives_otherwise_are_taken_from_it(compiler, monkeypatch):
    model = quantized("residual", layers={"conv_0": "a8_w4"})
    monkeypatch.setattr(compiler.ClientRunner, "reverse_names", True)
    data = Hailo8().compile(model, samples(model))
    head = json.loads(data.removeprefix(compiler.MAGIC).partition(b"\n")[0])
    first = [
        name for name, layer in head["layers"].items() if layer["original_names"] == ["conv_0"]
    ]
    assert first == ["residual/conv4"]
    assert "quantization_param(conv4, precision_mode=a8_w4)" in head["script"]
    encoding = handed_script.written_encodings(model, {"conv_0": "conv1"})["conv1"]
    said = f"quantization_param(conv4, force_range_out=[{float(encoding.low)!r}, "
    assert said in head["script"]


LAYERS = {
    "n/output_layer1": {"type": "output_layer", "original_names": ["c"]},
    "n/conv1": {"type": "conv", "original_names": ["b"]},
    "n/conv2": {"type": "conv", "original_names": ["a", "relu"]},
    "n/conv10": {"type": "conv", "original_names": ["c"]},
}
NODES = {"conv1": "a", "conv2": "b", "conv10": "c", "activation1": "relu", "pool1": "d"}


def test_names_swap_all_at_once_and_users_lines_stay():
    script = "".join(f"quantization_param(conv{n}, precision_mode=a8_w4)\n" for n in (1, 2, 10))
    swapped = script.replace("conv1,", "x").replace("conv2,", "conv1,").replace("x", "conv2,")
    assert as_named(script, "# mark", NODES, LAYERS) == swapped
    behind = "# mark\nshortcut(conv10)\n"
    assert as_named(script + behind, "# mark", NODES, LAYERS) == swapped + behind
    with pytest.raises(ValueError, match="conv1 is conv2"):
        as_named(f"{script}# mark\nshortcut(conv1)", "# mark", NODES, LAYERS)


def test_the_activation_that_the_compiler_fuses_decides_its_layers_range():
    script = (
        "quantization_param(conv1, force_range_out=[-1.0, 1.0])\n"
        "quantization_param(activation1, force_range_out=[0.0, 1.0])\n"
    )
    fused = "quantization_param(conv2, force_range_out=[0.0, 1.0])\n"
    assert as_named(script, "# mark", NODES, LAYERS) == fused


def test_a_line_for_a_layer_that_the_compiler_lacks_is_left_out_and_said(capsys):
    line = "quantization_param(pool1, force_range_out=[0.0, 1.0])\n"
    assert as_named(f"# head\n{line}", "# mark", NODES, LAYERS) == "# head\n"
    assert capsys.readouterr().err == f"Left out, the compiler has no such layer: {line}"


def test_a_users_line_for_a_layer_of_another_name_stops_the_compilation(compiler, monkeypatch):
    model = with_lines(quantized("residual"), "shortcut(conv1)")
    assert Hailo8().compile(model, samples(model))
    monkeypatch.setattr(compiler.ClientRunner, "reverse_names", True)
    with pytest.raises(TargetError, match="conv1 is conv4"):
        Hailo8().compile(model, samples(model))


def test_what_the_compiler_says_is_passed_on(compiler):
    model = with_lines(quantized("conv_chain"), "allocator_param(no_such_key=1)")
    with pytest.raises(TargetError, match=r"failed.*bad argument no_such_key=1") as caught:
        Hailo8().compile(model, samples(model))
    assert "--bundle" in caught.value.hint
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_compilers_archive_is_kept_if_asked_for(compiler, tmp_path):
    model = quantized("conv_chain")
    target = Hailo8(Hailo8.Options(har=tmp_path / "net.har"))
    assert target.compile(model, samples(model)) == Hailo8().compile(model, samples(model))
    assert (tmp_path / "net.har").read_text().startswith("stand-in HAR of conv_chain")
    assert "har" not in target.options.model_dump(mode="json")


def test_what_the_compiler_prints_does_not_mix_with_results(compiler, monkeypatch, capsys):
    model = quantized("conv_chain")
    real = compiler.ClientRunner.compile
    monkeypatch.setattr(
        compiler.ClientRunner, "compile", lambda runner: print("[info] hello") or real(runner)
    )
    Hailo8().compile(model, samples(model))
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "[info] hello\n")


def test_without_the_compiler_the_error_names_the_way_out(no_hailo):
    model = quantized("conv_chain")
    for act in (Hailo8().need_compiler, lambda: Hailo8().compile(model, samples(model))):
        with pytest.raises(TargetError, match=r"hailo_sdk_client.*not installed") as caught:
            act()
        assert "--bundle" in caught.value.hint


def test_a_bundle_needs_no_compiler(no_hailo, folder):
    model = quantized("conv_chain")
    assert Hailo8().bundle(model, folder, samples(model))
    onnx.checker.check_model(onnx.load(folder / "conv_chain.onnx"), full_check=True)


@pytest.mark.parametrize("data", [None, ArrayDataset({"image": np.zeros((0, 3, 12, 12))})])
def test_samples_are_needed(data, folder, compiler):
    model = quantized("conv_chain")
    for act in (
        lambda: Hailo8().compile(model, data),
        lambda: Hailo8().bundle(model, folder, data),
    ):
        with pytest.raises(DataError, match="samples") as caught:
            act()
        assert "--calib-path" in caught.value.hint
    assert not list(folder.iterdir())


def test_a_model_in_float_is_refused(folder):
    model = toys.conv_chain()
    with pytest.raises(TargetError, match="conv_chain is parsed"):
        Hailo8().bundle(model, folder, samples(model))


def test_the_compiled_stage_hands_over_what_the_quantized_stage_is():
    model = quantized("conv_chain")
    compiled = model.advance(Stage.COMPILED)
    assert script_of(compiled) == script_of(model)
