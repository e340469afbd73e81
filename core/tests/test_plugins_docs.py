"""docs/plugins.md says what is true: every hook with its signature, and an example that works."""

import ast
import inspect
import re
from pathlib import Path

import pytest
from fewbits import hookspecs
from fewbits.component import KINDS
from fewbits.discovery import Status

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "plugins.md").read_text()
SPECS = {
    node.name: node
    for node in ast.parse(inspect.getsource(hookspecs)).body
    if isinstance(node, ast.FunctionDef)
}
EVENTS = {"before_step", "after_step", "progress"}


def test_the_hooks_are_one_for_each_kind_and_the_events():
    assert set(SPECS) == {f"{kind}s" for kind in KINDS} | EVENTS


@pytest.mark.parametrize("name", SPECS)
def test_every_hook_stands_in_the_docs_with_its_signature(name):
    spec = SPECS[name]
    signature = f"def {name}({ast.unparse(spec.args)}) -> {ast.unparse(spec.returns)}"
    assert signature.replace("'", "") in TEXT.splitlines()


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_event_stands_in_the_docs_with_its_moment_and_its_arguments(name):
    moment, _, arguments = (ast.get_docstring(SPECS[name]) or "").partition("\n\n")
    assert moment in TEXT.splitlines()
    described = re.findall(r"^    (\w+): (.*)$", arguments, re.MULTILINE)
    assert [argument for argument, _ in described] == [a.arg for a in SPECS[name].args.args]
    for argument, meaning in described:
        assert f"- `{argument}`: {meaning}" in TEXT


def test_every_status_stands_in_the_docs():
    assert all(f"| `{status}` |" in TEXT for status in Status.__args__)


def test_the_example_of_the_docs_works(site):
    blocks = re.findall(r"```python\n# (fewbits_halve/\S+)\n(.*?)```", TEXT, re.DOTALL)
    assert [file for file, _ in blocks] == ["fewbits_halve/plugin.py", "fewbits_halve/algorithm.py"]
    (site.path / "fewbits_halve").mkdir()
    for file, code in blocks:
        site.write(file, code)
    site.install("fewbits-halve", entries=["halve = fewbits_halve.plugin"])
    registry = site.discover()
    assert [str(fault) for fault in registry.verify()] == []
    assert registry.create("algorithm", "halve", {"strength": "2"}).options.strength == 2
