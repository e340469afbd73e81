"""The example plugin as a stranger meets it: built, installed, listed, run, uninstalled."""

import importlib.util
import json
import subprocess
import sys
import sysconfig
import venv
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


class Environment:
    """A fresh virtual environment: this one's libraries, and nothing of fewbits."""

    def __init__(self, folder):
        self.folder = folder
        venv.create(folder / "venv", with_pip=False)
        self.bin = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
        self._borrow(Path(sysconfig.get_path("purelib")))
        self._borrow(Path(sysconfig.get_path("platlib")))

    def _borrow(self, site):
        """Link every library into the new environment, so that no network is needed."""
        libraries = self.folder / "libraries"
        libraries.mkdir(exist_ok=True)
        for found in site.iterdir():
            here = libraries / found.name
            own = found.name.lower().lstrip("_").startswith(("fewbits", "editable"))
            if not own and found.suffix != ".pth" and not here.exists():
                here.symlink_to(found)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = self.folder / "venv" / "lib" / version / "site-packages"
        (packages / "borrowed.pth").write_text(f"{libraries}\n")

    def pip(self, *arguments):
        python = str(self.bin / "python")
        run(sys.executable, "-m", "pip", "--python", python, *arguments)

    def fewbits(self, *arguments, check=True):
        return run(str(self.bin / "fewbits"), *arguments, cwd=self.folder, check=check)

    def algorithms(self):
        listed = json.loads(self.fewbits("list", "algorithms", "--json").stdout)
        return {component["name"]: component for component in listed}


def run(*command, cwd=None, check=True):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if check:
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def build(project, folder):
    """Build a wheel, with the hatchling that is here if there is one."""
    here = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", *here, "-w", str(folder), str(project))
    return max(folder.glob("*.whl"), key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheels")
    return {
        "core": build(ROOT / "core", folder),
        "example": build(ROOT / "contrib" / "example-plugin", folder),
    }


@pytest.fixture
def environment(tmp_path, wheels):
    fresh = Environment(tmp_path)
    fresh.pip("install", "--no-index", str(wheels["core"]))
    return fresh


def test_example_is_installed_listed_run_in_a_chain_and_uninstalled(environment, wheels):
    assert "clip-weights" not in environment.algorithms()
    environment.pip("install", "--no-index", str(wheels["example"]))
    listed = environment.algorithms()["clip-weights"]
    assert listed["distribution"] == PLUGIN
    assert listed["status"] == "active"

    chain = ("-p", "clip-weights:sigmas=2.0", "-p", "quantize")
    files = save_toy(environment.folder)
    environment.fewbits("optimize", *files, *chain, "-o", "out.fewbits")
    model = archive.read(environment.folder / "out.fewbits")
    clipped, quantized = model.history
    assert model.stage is Stage.QUANTIZED
    assert (clipped.use, clipped.distribution) == ("clip-weights", PLUGIN)
    assert clipped.options == {"sigmas": 2.0}
    assert clipped.report.metrics["clipped"] > 0
    assert quantized.input_digest == clipped.output_digest

    environment.pip("uninstall", "--yes", PLUGIN)
    assert "clip-weights" not in environment.algorithms()
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
