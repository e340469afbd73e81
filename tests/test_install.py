"""One `pip install .` in a fresh copy of the repository, as the README says."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MEMBERS = {
    tomllib.loads(path.read_text())["project"]["name"]
    for path in (ROOT / "core" / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml"))
}
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "tests", "docs")

pytestmark = pytest.mark.slow


@pytest.fixture
def installed(environment):
    clone = environment.folder / "clone"
    shutil.copytree(ROOT, clone, ignore=LEFT_OUT)
    environment.pip("install", "--no-index", "--no-build-isolation", str(clone))
    shutil.rmtree(clone)
    return environment


def distributions(environment):
    listed = json.loads(environment.pip("list", "--format", "json").stdout)
    return {each["name"] for each in listed if each["name"].startswith("fewbits")}


def test_one_install_brings_every_distribution_by_itself_and_the_demo_runs(installed):
    assert distributions(installed) == {"fewbits", *MEMBERS}

    figures = json.loads(installed.fewbits("demo", "--json", "--quiet", "-o", "out").stdout)
    shown = [row["precision"] for row in figures["rows"]]
    assert shown == ["float", "a8_w8", "a8_w4", "a8_w4"]  # the last one recovered
    assert (installed.folder / "out" / "digits-a8_w8.onnx").is_file()

    installed.pip("uninstall", "--yes", "fewbits-demo")
    assert distributions(installed) == {"fewbits", *MEMBERS} - {"fewbits-demo"}
    components = json.loads(installed.fewbits("list", "--json").stdout)
    assert "uniform" in {each["name"] for each in components}
    assert not {each["name"] for each in components if each["distribution"] == "fewbits-demo"}
