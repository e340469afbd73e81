"""The command line when a run is interrupted, fails or goes on."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from fewbits import api
from fewbits.archive import digest

STEPS_PLUGIN = """
from fewbits.component import Component
from fewbits.hookspecs import hookimpl

@hookimpl
def algorithms():
    return [
        Component("algorithm", "touch", "Does nothing at once", "slow_parts:Touch"),
        Component("algorithm", "nap", "Does nothing for long", "slow_parts:Nap"),
    ]
"""

STEPS = """
import os, time
from fewbits.errors import TargetError
from fewbits.interfaces import Algorithm, Result
from fewbits.provenance import Report

class Touch(Algorithm):
    name = "touch"

    def apply(self, model, context):
        return Result(model, Report(changed=False, summary="touched"))

class Nap(Algorithm):
    name = "nap"

    def apply(self, model, context):
        if os.environ.get("NAP") == "never":
            raise TargetError("It does not fit.", hint="Make it smaller.")
        for second in range(int(os.environ.get("NAP", "0"))):
            context.progress("nap", second, None, "seconds")
            time.sleep(1)
        return Result(model, Report(changed=False, summary="slept"))
"""


@pytest.fixture
def slow_steps(tmp_path):
    """The environment of a process that sees a plugin with the steps `touch` and `nap`."""
    site = tmp_path / "site"
    info = site / "fewbits_slow-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "slow.py").write_text(STEPS_PLUGIN)
    (site / "slow_parts.py").write_text(STEPS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fewbits-slow\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fewbits.plugins]\nslow = slow\n")
    return {**os.environ, "PYTHONPATH": str(site)}


def test_a_progress_hook_that_raises_is_named_and_the_run_goes_on(folder, slow_steps, fewbits):
    site = Path(slow_steps["PYTHONPATH"])
    with (site / "slow.py").open("a") as module:
        module.write("\n@hookimpl\ndef progress(done):\n    raise ValueError('too loud')\n")
    calibration = ["--calib-path", folder / "calib.npy"]
    done = fewbits("optimize", folder / "net.onnx", *calibration, "--json", env=slow_steps)
    assert done.returncode == 0
    assert json.loads(done.stdout)["stage"] == "quantized"
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "plugin 'slow' (fewbits-slow 1.0)" in warnings[0]
    assert "too loud" in warnings[0]


def test_a_step_that_fails_keeps_what_came_before_it(folder, slow_steps, fewbits):
    chain = ["-p", "touch", "-p", "nap", "-p", "quantize"]
    optimize = ["optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy", *chain]
    done = fewbits(*optimize, env={**slow_steps, "NAP": "never"})
    assert done.returncode == 1
    assert "error: It does not fit." in done.stderr
    assert "net.fewbits.checkpoint; the same command with --resume goes on" in done.stderr
    assert [path.name for path in Path().iterdir()] == ["net.fewbits.checkpoint"]


def interrupt_when(process, path, seconds=60):
    """Send Ctrl-C once `path` exists."""
    limit = time.monotonic() + seconds
    while not path.exists() and process.poll() is None:
        assert time.monotonic() < limit, "the checkpoint never came"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=seconds)


@pytest.mark.slow
def test_ctrl_c_keeps_the_checkpoint_and_resume_gives_the_same_digest(
    folder, slow_steps, fewbits, command
):
    chain = ["-p", "touch", "-p", "nap", "-p", "quantize"]
    optimize = ["optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy", *chain]
    straight = fewbits(*optimize, "-o", "straight.fewbits", env=slow_steps)
    assert straight.returncode == 0, straight.stderr

    process = subprocess.Popen(
        command(*optimize, "-o", "broken.fewbits"),
        env={**slow_steps, "NAP": "60"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoint = Path("broken.fewbits.checkpoint")
    _, stderr = interrupt_when(process, checkpoint)
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert str(checkpoint) in stderr
    assert "--resume" in stderr
    assert "Traceback" not in stderr
    assert checkpoint.exists()
    assert not Path("broken.fewbits").exists()

    again = fewbits(*optimize, "-o", "broken.fewbits", env=slow_steps)
    assert again.returncode == 2
    assert "--resume" in again.stderr

    resumed = fewbits(*optimize, "-o", "broken.fewbits", "--resume", env=slow_steps)
    assert resumed.returncode == 0, resumed.stderr
    assert not checkpoint.exists()
    results = [digest(api.load(Path(f"{name}.fewbits"))) for name in ("straight", "broken")]
    assert results[0] == results[1]


@pytest.mark.slow
def test_restart_drops_the_checkpoint(folder, slow_steps, fewbits):
    Path("net.fewbits.checkpoint").write_bytes(b"left behind")
    optimize = ["optimize", folder / "net.onnx", "--calib-path", folder / "calib.npy"]
    done = fewbits(*optimize, "--restart", env=slow_steps)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["net.fewbits"]


def test_resume_without_a_checkpoint_is_wrong_usage(folder, refused):
    calibration = ["--calib-path", folder / "calib.npy"]
    refused(["optimize", folder / "net.onnx", *calibration, "--resume"], ["checkpoint"], code=2)


def test_a_quantized_archive_takes_no_second_quantizer_unless_restarted(
    folder, archive, run, output_of
):
    again = ["optimize", archive, "--calib-path", folder / "calib.npy", "-p"]
    step = "quantize:precision=a8_w4"
    result = run(*again, step, "--restart")
    assert result.exit_code == 0
    assert set(output_of("info", archive)["precisions"]) == {"a8_w4"}
