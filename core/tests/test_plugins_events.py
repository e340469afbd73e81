"""Event hooks: each plugin is called by itself, and one that raises is left out from then on."""

import logging

import pytest
from fewbits.errors import PluginError
from fewbits.hookspecs import hookimpl
from fewbits.plugins import Registry


class Listener:
    """Remembers what it was told."""

    def __init__(self):
        self.told = []

    @hookimpl
    def before_step(self, step, index, total, model):
        self.told.append(("before", step, index, total, model))

    @hookimpl
    def after_step(self, step, record):
        self.told.append(("after", step, record))

    @hookimpl
    def progress(self, label, done, total, unit):
        self.told.append((label, done, total, unit))


class Bomb:
    """Raises what it is given, the first time and every time."""

    def __init__(self, error):
        self.error = error
        self.calls = 0

    @hookimpl
    def progress(self, done):
        self.calls += 1
        raise self.error


@pytest.fixture
def registry():
    return Registry()


def test_every_event_reaches_a_plugin_with_its_arguments(registry):
    listener = Listener()
    registry.register(listener, "listener")
    registry.before_step("tse", 0, 2, "model")
    registry.progress("calibrate", 3, None, "images")
    registry.after_step("tse", 0, 2, "model", "record")
    assert listener.told == [
        ("before", "tse", 0, 2, "model"),
        ("calibrate", 3, None, "images"),
        ("after", "tse", "record"),
    ]


@pytest.mark.parametrize(
    "error", [ValueError("boom"), AssertionError("boom"), SystemExit("boom")], ids=repr
)
def test_an_event_hook_that_raises_is_named_and_never_called_again(registry, caplog, error):
    bomb, first, last = Bomb(error), Listener(), Listener()
    registry.register(first, "first")
    registry.register(bomb, "bomb")
    registry.register(last, "last")
    with caplog.at_level(logging.WARNING, "fewbits.plugins"):
        registry.progress("x", 1, 2, "layers")
        registry.progress("x", 2, 2, "layers")
    assert bomb.calls == 1
    assert len(first.told) == len(last.told) == 2
    assert [r.status for r in registry.records] == ["active", "broken", "active"]
    record = registry.records[1]
    assert record.reason == f"hook 'progress' raised {type(error).__name__}: boom"
    assert "test_plugins_events.py" in record.traceback
    assert [m for m in caplog.messages if "plugin 'bomb'" in m and "boom" in m] == caplog.messages
    assert len(caplog.messages) == 1


def test_a_keyboard_interrupt_in_an_event_hook_passes(registry):
    registry.register(Bomb(KeyboardInterrupt()), "bomb")
    with pytest.raises(KeyboardInterrupt):
        registry.progress("x", 1, 2, "layers")


def test_an_installed_plugins_event_hook_that_raises_takes_its_components_out(site):
    site.plugin("fewbits-good")
    site.plugin("fewbits-bad", after="@hookimpl\ndef progress(label):\n    raise OSError(label)")
    registry = site.discover()
    registry.progress("calibrate", 1, 2, "images")
    assert [(r.name, r.status) for r in registry.records] == [("bad", "broken"), ("good", "active")]
    assert registry.load("algorithm", "good")
    with pytest.raises(PluginError, match="hook 'progress' raised OSError: calibrate"):
        registry.get("algorithm", "bad")


def test_a_plugin_of_this_process_can_be_taken_out_again(registry):
    listener = Listener()
    registry.register(listener, "listener")
    registry.unregister("listener")
    registry.progress("x", 1, 2, "layers")
    assert (listener.told, registry.records) == ([], ())
    registry.register(listener, "listener")


def test_a_plugin_of_this_process_with_wrong_hooks_is_an_error(registry):
    class Wrong:
        @hookimpl
        def progress(self, percent): ...

    with pytest.raises(PluginError, match="percent"):
        registry.register(Wrong(), "wrong")
    assert registry.records == ()


def test_a_plugin_of_this_process_cannot_take_a_name(site):
    site.plugin("fewbits-good")
    site.plugin("fewbits-twin", offers="other")
    registry = site.discover()
    with pytest.raises(PluginError, match="'good' is taken"):
        registry.register(Listener(), "good")
    import fewbits_good

    with pytest.raises(PluginError, match="'good' is claimed by"):
        registry.register(fewbits_good, "copy")
    assert [r.status for r in registry.records] == ["active", "active"]
