"""Pruning from the command line, in chains: provenance, replay, resume, order."""

import json

import fewbits
import numpy as np
import onnx_ir as ir
import pytest
from fewbits import masks, runner
from fewbits.cli.app import app
from fewbits.graph import constant, layers
from fewbits.planning import QUANTIZE
from fewbits.plugins import discover
from fewbits.recipe import Recipe, Step
from fewbits.testing import toys
from typer.testing import CliRunner


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments], prog_name="fewbits")


@pytest.fixture
def folder(tmp_path):
    model = toys.conv_chain()
    ir.save(model.network, tmp_path / "net.onnx")
    np.save(tmp_path / "calib.npy", toys.calibration(model, 64).inputs["image"])
    return tmp_path


def optimize(folder, *steps):
    flags = [part for step in steps for part in ("-p", step)]
    data = ["--calib-path", folder / "calib.npy", "-o", folder / "net.fewbits"]
    return run("optimize", folder / "net.onnx", *data, *flags)


def test_a_chain_is_written_down_keeps_the_masks_and_can_be_run_again(folder):
    steps = ("pruning:pattern=2:4", "static_channels", "dead_channels", "quantize")
    done = optimize(folder, *steps)
    assert done.exit_code == 0, done.output
    model = fewbits.load(folder / "net.fewbits")
    used = [record.use for record in model.history[1:]]
    assert used == ["pruning", "static_channels", "dead_channels", "uniform"]
    assert model.history[1].options["pattern"] == "2:4"
    assert len(model.masks) == 2
    assert masks.violations(model) == []
    for layer in layers(model.graph):
        if str(layer.weight.name) in model.masks:
            runs = np.moveaxis(constant(layer.weight), 1, -1).reshape(-1, 4)
            assert ((runs != 0).sum(axis=1) <= 2).all()
    again = run("replay", folder / "net.fewbits", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)


def test_a_chain_that_broke_off_goes_on_behind_the_pruning(tmp_path):
    model, path = toys.conv_chain(), tmp_path / "checkpoint"
    pruning, quantize = Step("pruning", {"pattern": "2:4"}), Step(QUANTIZE, {})
    setting = {
        "registry": discover(),
        "target": "cpu",
        "calibration": toys.calibration(model),
        "checkpoint": path,
    }
    first = runner.run(model, Recipe((pruning,)), **setting)
    both = runner.run(model, Recipe((pruning, quantize)), resume=True, **setting)
    assert first.history[0].seconds > 0.0
    assert both.history[0].seconds == 0.0, "read from the checkpoint, not run again"
    assert [record.use for record in both.history] == ["pruning", "uniform"]
    assert masks.violations(both) == []


@pytest.mark.parametrize("step", ["pruning", "dead_channels", "static_channels"])
def test_an_order_that_makes_no_sense_is_refused_before_anything_runs(folder, step):
    done = optimize(folder, "quantize", step)
    assert done.exit_code == 1
    assert "full precision" in done.output
    assert not (folder / "net.fewbits").exists()
