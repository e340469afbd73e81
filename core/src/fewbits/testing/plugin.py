"""The contract of plugin modules."""

import json
import os
import subprocess
import sys
from types import ModuleType
from typing import ClassVar

import pytest

from fewbits.errors import PluginError
from fewbits.plugins import Registered, Registry
from fewbits.resolve import ComponentError

PROBE = """\
import json, sys, threading
import fewbits.hookspecs
before = set(sys.modules)
import {module}
print(json.dumps([sorted(set(sys.modules) - before), threading.active_count()]))
"""


class PluginContract:
    """What every plugin module promises. Give the fixture `plugin`, the module itself."""

    #: Libraries that must not be imported before a component is used.
    heavy: ClassVar[frozenset[str]] = frozenset(
        {
            "matplotlib",
            "numpy",
            "onnx",
            "onnx_ir",
            "onnxruntime",
            "onnxscript",
            "pandas",
            "PIL",
            "pydantic",
            "scipy",
            "sklearn",
            "torch",
            "typer",
        }
    )

    @pytest.fixture
    def plugin(self) -> ModuleType:
        """Return the plugin module; the subclass gives it."""
        raise NotImplementedError("give the fixture `plugin`")

    @pytest.fixture
    def registry(self, plugin: ModuleType) -> Registry:
        """Return a registry that holds this plugin and nothing else."""
        registry = Registry()
        registry.register(plugin, "plugin-under-test")
        return registry

    @pytest.fixture
    def offered(self, registry: Registry) -> list[Registered]:
        """Return what the plugin's hooks offer."""
        return registry.components()

    def test_hooks_and_what_they_offer_are_accepted(self, plugin: ModuleType) -> None:
        registry = Registry()
        registry.register(plugin, "plugin-under-test")
        assert [record.status for record in registry.records] == ["active"]

    def test_summaries_are_one_line(self, offered: list[Registered]) -> None:
        for registered in offered:
            summary = registered.component.summary
            assert 0 < len(summary) <= 100, registered.component.name
            assert summary.isprintable(), registered.component.name

    def test_every_component_loads_and_is_of_its_kind(
        self, registry: Registry, offered: list[Registered]
    ) -> None:
        """What needs an optional library that is missing must say which extra brings it."""
        for registered in offered:
            try:
                registry.load(registered.component.kind, registered.component.name)
            except PluginError as error:
                cause = error.__cause__
                if not (isinstance(cause, ComponentError) and cause.missing and error.hint):
                    raise

    def test_hooks_answer_the_same_every_time(
        self, plugin: ModuleType, offered: list[Registered]
    ) -> None:
        again = Registry()
        again.register(plugin, "again")
        assert [r.component for r in again.components()] == [r.component for r in offered]

    def test_importing_it_is_light_and_does_nothing(self, plugin: ModuleType) -> None:
        """Import it alone in a fresh interpreter; see what came with it."""
        done = subprocess.run(
            [sys.executable, "-c", PROBE.format(module=plugin.__name__)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", "importing a plugin says nothing"
        assert done.stdout.count("\n") == 1, "importing a plugin prints nothing"
        imported, threads = json.loads(done.stdout)
        heavy = self.heavy & {name.partition(".")[0] for name in imported}
        assert not heavy, "import these where they are used"
        assert threads == 1, "importing a plugin starts no thread"
