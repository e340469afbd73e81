"""The tutorial's code is the code of a plugin that keeps the contracts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).resolve().parents[1] / "docs" / "write-a-plugin.md"


def blocks():
    return re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)


@pytest.mark.slow
def test_the_tutorials_plugin_passes_its_contract(tmp_path):
    plugin, algorithm, contract, _ = blocks()
    package = tmp_path / "fewbits_shrink"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "plugin.py").write_text(plugin)
    (package / "algorithm.py").write_text(algorithm)
    (tmp_path / "test_contract.py").write_text(contract)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_contract.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout


def test_the_tutorials_network_can_be_built():
    names = {}
    exec(blocks()[3], names)
    assert names["model"].name == "two_layers"
