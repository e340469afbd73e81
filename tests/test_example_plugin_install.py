"""The example plugin as a stranger meets it: built, installed, listed, run, uninstalled."""

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from fewbits import archive
from fewbits.model import Stage
from fewbits.testing import toys

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = "fewbits-example-plugin"

pytestmark = pytest.mark.slow


def algorithms(environment):
    listed = json.loads(environment.fewbits("list", "algorithms", "--json").stdout)
    return {component["name"]: component for component in listed}


def install(environment, project):
    environment.pip("install", "--no-index", "--no-build-isolation", str(ROOT / project))


def test_example_is_installed_listed_run_in_a_chain_and_uninstalled(environment):
    install(environment, "core")
    assert "clip-weights" not in algorithms(environment)
    install(environment, "contrib/example-plugin")
    listed = algorithms(environment)["clip-weights"]
    assert listed["distribution"] == PLUGIN
    assert listed["status"] == "active"

    chain = ("-p", "clip-weights:sigmas=2.0", "-p", "quantize")
    files = save_toy(environment.folder)
    environment.fewbits("optimize", *files, *chain, "-o", "out.fewbits")
    model = archive.read(environment.folder / "out.fewbits")
    _, clipped, quantized = model.history
    assert model.stage is Stage.QUANTIZED
    assert (clipped.use, clipped.distribution) == ("clip-weights", PLUGIN)
    assert clipped.options == {"sigmas": 2.0}
    assert clipped.report.metrics["clipped"] > 0
    assert quantized.input_digest == clipped.output_digest

    environment.pip("uninstall", "--yes", PLUGIN)
    assert "clip-weights" not in algorithms(environment)
    refused = environment.fewbits("optimize", *files, *chain, "-o", "no.fewbits", check=False)
    assert refused.returncode == 1
    assert "clip-weights" in refused.stderr
    assert not (environment.folder / "no.fewbits").exists()


def save_toy(folder):
    """Write a network and an npy of calibration samples; return the arguments that name them."""
    model = toys.residual()
    ir.save(model.network, folder / "residual.onnx")
    np.save(folder / "calibration.npy", toys.calibration(model).inputs["image"])
    return ("residual.onnx", "--calib-path", "calibration.npy")
