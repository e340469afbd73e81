"""A small network with data, and ways to run commands on it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from fewbits.cli.app import app
from fewbits.testing.net import Net
from typer.testing import CliRunner

SIDE = 8


@pytest.fixture
def run():
    """Return a function that runs a command in this process."""

    def _run(*arguments):
        return CliRunner().invoke(app, [str(each) for each in arguments], prog_name="fewbits")

    return _run


@pytest.fixture
def output_of(run):
    """Return a function for commands that must succeed."""

    def _output_of(*arguments):
        """Run a command that must succeed; return what it printed as JSON."""
        result = run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return _output_of


@pytest.fixture
def refused(run):
    """Return a function for commands that must fail."""

    def _refused(arguments, words, code=1):
        """Run a command that must fail with these words, a hint, and nothing left behind."""
        before = sorted(path.name for path in Path().iterdir())
        result = run(*arguments)
        assert result.exit_code == code, result.output
        # A slow machine says before it what it is reading.
        assert any(line.startswith("error: ") for line in result.stderr.splitlines())
        assert "\nhint: " in result.stderr
        assert "Traceback" not in result.output
        for word in words:
            assert word in result.stderr
        assert sorted(path.name for path in Path().iterdir()) == before

    return _refused


@pytest.fixture
def command():
    """Return a function that gives the words of a process of its own."""

    def _command(*arguments):
        code = "from fewbits.cli.app import main; main()"
        return [sys.executable, "-c", code, *map(str, arguments)]

    return _command


@pytest.fixture
def fewbits(command):
    """Return a function that runs a command as a process of its own."""

    def _fewbits(*arguments, **options):
        """Run the command line as a process of its own."""
        return subprocess.run(
            command(*arguments), capture_output=True, text=True, check=False, **options
        )

    return _fewbits


def classifier():
    """Convolutions, pooling and a Gemm that tells six classes apart."""
    net = Net("classifier")
    x = net.op("Relu", net.conv(net.input("image", 3, SIDE, SIDE), 3, 8))
    x = net.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.op("Relu", net.conv(x, 8, 8, group=8))
    net.output(net.gemm(net.op("Flatten", net.op("GlobalAveragePool", x)), 8, 6), 6)
    return net.build()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder; a network, calibration and labelled data lie in `inputs`."""
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    network = classifier()
    (inputs / "net.onnx").write_bytes(ir.to_proto(network.network).SerializeToString())
    shape = (3, SIDE, SIDE)
    rng = np.random.default_rng(7)
    np.save(inputs / "calib.npy", rng.normal(size=(24, *shape)).astype(np.float32))
    images = rng.normal(size=(16, *shape)).astype(np.float32)
    np.savez(inputs / "eval.npz", images=images, labels=np.zeros(16, np.int64))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return inputs


@pytest.fixture
def archive(folder, output_of):
    path = folder / "net.fewbits"
    calibration = ["--calib-path", folder / "calib.npy", "-p", "quantize"]
    output_of("optimize", folder / "net.onnx", *calibration, "-o", path)
    return path
