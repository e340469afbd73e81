"""Scripts for real networks, which lie beside the project where they are there."""

import json
from pathlib import Path

import fewbits
import numpy as np
import pytest
from fewbits.cli.app import app
from fewbits.levels import level
from fewbits_hailo.layernames import layer_names
from fewbits_hailo.script.reader import read_text
from fewbits_hailo.script.step import handover_lines
from typer.testing import CliRunner

MODELS = Path(__file__).resolve().parents[4] / "shared" / "models"
LITE0 = MODELS / "efficientnet_lite0.onnx"
RESNET20 = MODELS / "resnet20_cifar10_bn.onnx"

SCRIPT = """\
# level 1, four bits in every convolution but the first, no bias correction
model_optimization_flavor(optimization_level=1, compression_level=0)
model_optimization_config(calibration, batch_size=8, calibset_size=16)
quantization_param({conv*}, precision_mode=a8_w4)
quantization_param([conv1], precision_mode=a8_w8)
post_quantization_optimization(bias_correction, policy=disabled)
performance_param(compiler_optimization_level=max)
"""
needs_lite0 = pytest.mark.skipif(not LITE0.exists(), reason="the network is not here")
needs_resnet = pytest.mark.skipif(not RESNET20.exists(), reason="the network is not here")


@needs_lite0
def test_lite0_has_the_layers_that_the_zoo_s_script_names():
    model = fewbits.parse(LITE0)
    names = layer_names(model)
    assert names["/_fc/Gemm"] == "fc1"
    counts = {kind: sum(n.startswith(kind) for n in names.values()) for kind in ("conv", "dw")}
    assert counts == {"conv": 33, "dw": 16}
    script = read_text(
        "norm_layer1 = normalization([127, 127, 127], [128, 128, 128])\n"
        "quantization_param({conv*}, bias_mode=double_scale_initialization)\n"
        "model_optimization_config(calibration, batch_size=32, calibset_size=64)\n"
        "post_quantization_optimization(bias_correction, policy=enabled)\n"
        "post_quantization_optimization(finetune, policy=disabled)\n"
        "logits_layer1 = logits_layer(efficientnet_lite0/fc1, softmax, -1, cpu)\n",
        model,
    )
    steps = {step.use: step.options for step in script.adapt(level(2).recipe).steps}
    assert list(steps) == [
        "normalization",
        "logits",
        "hailo_script",
        "equalization",
        "quantize",
        "gptq",
        "ibc",
    ]
    assert steps["quantize"] == {"precision": "a8_w8", "samples": 64}


@needs_resnet
def test_a_script_goes_from_the_command_line_to_the_archive(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.alls").write_text(SCRIPT)
    rng = np.random.default_rng(0)
    np.save("calib.npy", rng.normal(size=(16, 3, 32, 32)).astype(np.float32))
    words = ["optimize", RESNET20, "--hw-arch", "hailo8", "--model-script", "net.alls"]
    words += ["--calib-path", "calib.npy", "-o", "net.fewbits", "--json"]
    result = CliRunner().invoke(app, [str(word) for word in words], prog_name="fewbits")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["level"]["optimization_level"] == 1
    made = fewbits.load("net.fewbits")
    assert [r.use for r in made.history][1:4] == ["hailo_script", "equalization", "uniform"]
    assert "ibc" not in [r.use for r in made.history]
    names = layer_names(made)
    modes = {names[node]: str(mode) for node, mode in made.precisions.items()}
    assert (modes["conv1"], modes["conv2"], modes["fc1"]) == ("a8_w8", "a8_w4", "a8_w8")
    assert handover_lines(made) == ("performance_param(compiler_optimization_level=max)",)
    info = CliRunner().invoke(app, ["info", "net.fewbits"], prog_name="fewbits").stdout
    assert ["/layer1/layer1.0/conv1/Conv", "Conv", "conv2", "a8_w4"] in [
        line.split() for line in info.splitlines()
    ]


@needs_resnet
def test_python_takes_a_script_where_it_takes_a_recipe(tmp_path):
    path = tmp_path / "net.alls"
    path.write_text(SCRIPT)
    rng = np.random.default_rng(0)
    made = fewbits.optimize(
        fewbits.parse(RESNET20),
        recipe=path,
        calibration=rng.normal(size=(16, 3, 32, 32)).astype(np.float32),
        target="hailo8",
    )
    assert handover_lines(made) == ("performance_param(compiler_optimization_level=max)",)
