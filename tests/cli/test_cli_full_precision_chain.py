"""The full-precision steps chained: broken off, resumed, run again from the record; and orders."""

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from fewbits import masks
from fewbits.api import load
from fewbits.builtin.uniform import UniformQuantizer
from fewbits.errors import TargetError
from fewbits.graph import constant, layers
from fewbits.testing import toys
from fewbits.testing.net import Net
from fewbits_equalization.algorithm import Equalization
from fewbits_pruning.algorithm import Pruning
from fewbits_tse.algorithm import TiledSqueezeExcite

SHARED = Path(__file__).parents[3] / "shared/models"
PPOCR = SHARED / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
CHAIN = (
    "tse:count=6,tile_height=5,threshold=-140",
    "pruning:pattern=2:4",
    "equalization:mode=two_step",
    "quantize",
)


def weighed():
    """Convolutions around a squeeze-and-excite block."""
    net = Net("weighed")
    x = net.op("Relu", net.conv(net.input("image", 3, 12, 12), 3, 8))
    gate = net.op("Relu", net.conv(net.op("GlobalAveragePool", x), 8, 4, 1))
    x = net.op("Mul", x, net.op("Sigmoid", net.conv(gate, 4, 8, 1)))
    x = net.op("Relu", net.conv(x, 8, 8))
    net.output(net.conv(x, 8, 4), 4, 12, 12)
    return net.build()


@pytest.fixture
def given(tmp_path, monkeypatch):
    model = weighed()
    ir.save(model.network, tmp_path / "net.onnx")
    np.save(tmp_path / "calib.npy", toys.calibration(model, 16).inputs["image"])
    monkeypatch.chdir(tmp_path)
    return ["optimize", "net.onnx", "--calib-path", "calib.npy", "-o", "net.fewbits"]


def flags(steps):
    return [part for step in steps for part in ("-p", step)]


def refuse(self, model, context):
    raise TargetError("Nothing runs here.", hint="This is a test.")


def check(path):
    """Check that all that was asked for is in the archive."""
    model = load(path)
    assert [r.use for r in model.history[1:]] == ["tse", "pruning", "equalization", "uniform"]
    assert model.masks
    assert masks.violations(model) == []
    for layer in layers(model.graph):
        if layer.weight.name in model.masks and layer.weight.shape[1] % 4 == 0:
            runs = np.moveaxis(constant(layer.weight), 1, -1).reshape(-1, 4)
            assert ((runs != 0).sum(axis=1) <= 2).all()
    return model


def test_a_chain_that_breaks_off_goes_on_and_can_be_run_again(given, run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(UniformQuantizer, "apply", refuse)
        assert run(*given, *flags(CHAIN)).exit_code == 1
    with monkeypatch.context() as patch:
        for step in (TiledSqueezeExcite, Pruning, Equalization):
            patch.setattr(step, "apply", refuse)
        resumed = run(*given, *flags(CHAIN), "--resume")
        assert resumed.exit_code == 0, resumed.output
    model = check("net.fewbits")
    assert [n.action for n in model.history[1].report.layers] == ["tiled"]
    assert model.history[3].report.changed
    again = run("replay", "net.fewbits", "--json")
    assert again.exit_code == 0, again.output
    assert all(step["same"] for step in json.loads(again.stdout)["steps"])


@pytest.mark.parametrize("step", ["equalization", "tse", "pruning"])
def test_full_precision_after_quantization_is_refused_before_anything_runs(
    given, run, monkeypatch, step
):
    monkeypatch.setattr(UniformQuantizer, "apply", refuse)
    refused = run(*given, *flags(["quantize", step]))
    assert refused.exit_code == 1
    assert "full precision" in refused.stderr
    assert "Nothing runs here" not in refused.stderr


@pytest.mark.slow
@pytest.mark.skipif(not PPOCR.exists(), reason="the shared models are not here")
def test_the_chain_runs_on_a_network_with_nine_blocks(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("calib.npy", rng.normal(size=(16, 3, 48, 192)).astype(np.float32))
    steps = ["tse:count=6", *CHAIN[1:]]
    words = ["optimize", PPOCR, "--input-shape", "3x48x192", "--calib-path", "calib.npy"]
    done = run(*words, "-o", "cls.fewbits", *flags(steps))
    assert done.exit_code == 0, done.output
    check("cls.fewbits")
    assert run("replay", "cls.fewbits").exit_code == 0
