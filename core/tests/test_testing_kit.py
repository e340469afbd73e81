"""The contract kit catches bad plugins: each fault, and nothing but that fault."""

import importlib
import importlib.util
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fewbits.errors import PluginError
from fewbits.testing import PluginContract

HERE = Path(__file__).parent
FAULTY = sorted(HERE.glob("faulty_*.py"))


def run_pytest(path, folder, *options):
    """Run a test file as its author would; return what pytest printed."""
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    common = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", "pytest.ini")
    command = (sys.executable, "-m", "pytest", *common, *options, str(path))
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


def failures(path, folder):
    """Run a test file; return class → names of the tests that did not pass."""
    printed = run_pytest(path, folder, "--junitxml=results.xml")
    assert (folder / "results.xml").exists(), printed
    failed = defaultdict(set)
    for case in ElementTree.parse(folder / "results.xml").iter("testcase"):
        outcomes = {child.tag for child in case}
        name = {case.get("name").partition("[")[0]} if outcomes & {"failure", "error"} else set()
        failed[case.get("classname").rpartition(".")[2]] |= name
    return dict(failed)


def expectations(path):
    """Return class → names of the tests that must fail, as each class in the file says."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: set(cls.caught) for name, cls in vars(module).items() if name.startswith("Test")}


@pytest.mark.slow
@pytest.mark.parametrize("path", FAULTY, ids=lambda path: path.stem)
def test_each_fault_is_caught_by_the_test_that_is_for_it(path, tmp_path):
    assert failures(path, tmp_path) == expectations(path)


@pytest.mark.slow
def test_failures_say_what_was_compared(tmp_path):
    """The kit's own modules are rewritten by pytest, or its failures would be bare."""
    printed = run_pytest(HERE / "faulty_evaluators.py", tmp_path, "-k", "NamesAnotherHeadline")
    assert "AssertionError: assert 'accuracy' in {'error':" in printed


HEADER = """\
from fewbits.component import Component
from fewbits.hookspecs import hookimpl

@hookimpl
def algorithms():
    return [Component("algorithm", "{name}", "{summary}", "{target}")]
"""
DEFAULTS = {"name": "negate", "summary": "Negates", "target": "faulty_algorithms:Negate"}

ACCEPTED = "test_hooks_and_what_they_offer_are_accepted"
LOADS = "test_every_component_loads_and_is_of_its_kind"
LIGHT = "test_importing_it_is_light_and_does_nothing"
FAULTS = {
    "wrong_kind": (ACCEPTED, HEADER.replace('"algorithm"', '"quantizer"')),
    "twice": (ACCEPTED, HEADER.replace(")]", ")] * 2")),
    "no_hook": (ACCEPTED, "def algorithms():\n    return []\n"),
    "unknown_hook": (ACCEPTED, HEADER.replace("def algorithms", "def algoritms")),
    "bad_name": (ACCEPTED, HEADER.replace("{name}", "Negate weights")),
    "no_target": (LOADS, HEADER.replace("{target}", "faulty_algorithms:Nothing")),
    "no_algorithm": (LOADS, HEADER.replace("{target}", "faulty_algorithms:NegateOptions")),
    "other_name": (LOADS, HEADER.replace("{name}", "invert")),
    "imports_numpy": (LIGHT, "import numpy\n" + HEADER),
    "prints": (LIGHT, "print('hello')\n" + HEADER),
    "starts_a_thread": (
        LIGHT,
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(0.5,)).start()\n" + HEADER,
    ),
}


def plugin_module(name, source, folder, monkeypatch):
    """Write a plugin module beside the faulty algorithms, import it, and forget it afterwards."""
    (folder / f"{name}.py").write_text(source.format(**DEFAULTS))
    monkeypatch.setattr(sys, "path", [str(folder), str(HERE), *sys.path])
    importlib.invalidate_caches()
    module = importlib.import_module(name)
    monkeypatch.delitem(sys.modules, name)
    return module


def hold(contract, rule, module):
    """Call one test of the contract, with the fixtures that it asks for."""
    from fewbits.plugins import Registry

    if rule != LOADS:
        getattr(contract, rule)(module)
        return
    registry = Registry()
    registry.register(module, "faulty")
    contract.test_every_component_loads_and_is_of_its_kind(registry, registry.components())


@pytest.mark.parametrize("name", FAULTS)
def test_faulty_plugin_module_is_caught(name, tmp_path, monkeypatch, capsys):
    rule, source = FAULTS[name]
    module = plugin_module(f"faulty_plugin_{name}", source, tmp_path, monkeypatch)
    with pytest.raises((AssertionError, PluginError)):
        hold(PluginContract(), rule, module)


def test_sound_plugin_module_passes(tmp_path, monkeypatch):
    module = plugin_module("sound_plugin", HEADER, tmp_path, monkeypatch)
    for rule in (ACCEPTED, LOADS, LIGHT):
        hold(PluginContract(), rule, module)
