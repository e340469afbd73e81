"""A folder of installed distributions, real but for pip, for tests of the plugin system."""

import sys
import textwrap
from pathlib import Path

import pytest
from fewbits.plugins import Registry, discover

PLUGIN = """
from fewbits.component import Component
from fewbits.hookspecs import hookimpl
{before}
@hookimpl
def algorithms():
    return [Component("algorithm", "{name}", "Changes nothing", "{module}_parts:Pass")]
{after}
"""

PARTS = """
from fewbits.interfaces import Algorithm, Result
from fewbits.options import Options
from fewbits.provenance import Report

class PassOptions(Options):
    strength: int = 1

class Pass(Algorithm):
    name = "{name}"
    Options = PassOptions

    def apply(self, model, context):
        return Result(model, Report(changed=False))
"""


class Site:
    """Writes `NAME-1.0.dist-info` folders and modules as pip would; `path` is on sys.path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, file: str, text: str) -> None:
        """Write a module."""
        (self.path / file).write_text(textwrap.dedent(text))

    def install(
        self, name, *, entries=None, version="1.0", requires=("fewbits-core>=0.1,<9",)
    ) -> None:
        """Write the metadata; by default one entry point, the distribution without `fewbits-`."""
        if entries is None:
            entries = [f"{name.removeprefix('fewbits-')} = {module_of(name)}"]
        info = self.path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {line}" for line in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "entry_points.txt").write_text("\n".join(["[fewbits.plugins]", *entries]) + "\n")

    def plugin(self, name="fewbits-good", *, before="", after="", offers=None, **metadata) -> None:
        """Install a whole plugin that offers one algorithm, called as the plugin."""
        offers = offers or name.removeprefix("fewbits-")
        fill = {"name": offers, "module": module_of(name)}
        code = PLUGIN.format(before=textwrap.dedent(before), after=textwrap.dedent(after), **fill)
        self.write(f"{module_of(name)}.py", code)
        self.write(f"{module_of(name)}_parts.py", PARTS.format(**fill))
        self.install(name, **metadata)

    def builtins(self) -> None:
        """Install the core's own entry point."""
        self.install("fewbits-core", entries=["builtin = fewbits.builtin.plugin"], requires=())

    def discover(self, **options) -> Registry:
        """Discover what is installed here and nothing else."""
        return discover(path=[str(self.path)], **options)


def module_of(distribution: str) -> str:
    """Return the module's name for a distribution's."""
    return distribution.replace("-", "_")


@pytest.fixture
def site(tmp_path, monkeypatch):
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.syspath_prepend(path)
    yield Site(path)
    for name, module in list(sys.modules.items()):
        if str(path) in (getattr(module, "__file__", None) or ""):
            del sys.modules[name]
