"""One plugin behind pluggy: its hooks are validated, its components checked, its calls isolated.

Each plugin has a pluggy manager of its own. What it raises is then its own, no other plugin's
call is cut short by it, and leaving it out is leaving out its manager.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pluggy

from fewbits import hookspecs
from fewbits.component import KINDS, Component
from fewbits.discovery import PluginRecord, Status, format_error, one_line
from fewbits.errors import nearest

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")

#: kinds whose names users write as steps of a recipe, so that one name may stand for one only.
STEP_KINDS = ("algorithm", "quantizer")
#: step names that the recipe itself gives a meaning.
_RESERVED_STEPS = ("quantize",)


class HookError(Exception):
    """A plugin's hooks, or what they return, are not as the specification says."""


class Host:
    """A plugin with its record and its hooks.

    Args:
        record: where the plugin came from and how it stands.
        plugin: the module or object that carries the hookimpls; unused when it is not active.
        builtin: whether it is the core's own.

    `components` is what its hooks return; what is wrong with the plugin stands in its record,
    whatever it raises.
    """

    def __init__(self, record: PluginRecord, plugin: object, *, builtin: bool = False) -> None:
        self.record = record
        self.builtin = builtin
        self.components: tuple[Component, ...] = ()
        self._hooks = frozenset[str]()
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        if self.active:
            self._connect(plugin)

    @property
    def active(self) -> bool:
        """Whether its components are offered and its hooks called."""
        return self.record.status == "active"

    def refuse(self, status: Status, reason: str, error: BaseException | None = None) -> None:
        """Take the plugin out, saying why."""
        trace = format_error(error) if error else ""
        self.record = replace(self.record, status=status, reason=reason, traceback=trace)

    def fire(self, event: str, arguments: dict[str, Any]) -> bool:
        """Call an event hook; return False when it raised, which takes the plugin out."""
        if not (self.active and event in self._hooks):
            return True
        try:
            getattr(self._manager.hook, event)(**arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.refuse("broken", f"hook '{event}' raised {one_line(error)}", error)
        return self.active

    def _connect(self, plugin: object) -> None:
        try:
            self._hooks = self._validate(plugin)
            self.components = tuple(self._collect())
        except (HookError, pluggy.PluginValidationError) as error:
            self.refuse("broken", " ".join(str(error).split()), error.__cause__)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.refuse("broken", f"registering it raised {one_line(error)}", error)

    def _validate(self, plugin: object) -> frozenset[str]:
        """Register the plugin; return the names of the hooks that it implements.

        Raises:
            HookError: no hook, an unknown hook, or a wrapper.
            pluggy.PluginValidationError: arguments that the hook does not have.
        """
        self._manager.add_hookspecs(hookspecs)
        self._manager.register(plugin, self.record.name)
        callers = self._manager.get_hookcallers(plugin) if plugin is not None else None
        if not callers:
            raise HookError("it implements no hook; mark its functions with @fewbits.hookimpl")
        known = [name for name in vars(self._manager.hook) if self._has_spec(name)]
        for caller in callers:
            _check_impl(caller, known)
        return frozenset(caller.name for caller in callers)

    def _has_spec(self, name: str) -> bool:
        return bool(getattr(self._manager.hook, name).has_spec())

    def _collect(self) -> Iterator[Component]:
        taken: set[tuple[str, str]] = set()
        for kind in KINDS:
            for component in self._ask(kind):
                if slot(component) in taken:
                    raise HookError(f"it offers the {kind} '{component.name}' twice")
                taken.add(slot(component))
                yield component

    def _ask(self, kind: str) -> list[Component]:
        """Call the hook for one kind of component and check what comes back."""
        hook = f"{kind}s"
        if hook not in self._hooks:
            return []
        try:
            answers = getattr(self._manager.hook, hook)()
            items = list(answers[0]) if answers and isinstance(answers[0], Iterable) else None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise HookError(f"hook '{hook}' raised {one_line(error)}") from error
        if items is None:
            given = repr(answers[0]) if answers else "None"
            raise HookError(f"hook '{hook}' returned {given}; return a list of Component")
        for item in items:
            fault = _fault(item, kind)
            if fault:
                raise HookError(f"hook '{hook}' returned {fault}")
        return items


def slot(component: Component) -> tuple[str, str]:
    """Return what a component claims: its name among its kind, or among all steps."""
    kind = "step" if component.kind in STEP_KINDS else component.kind
    return kind, component.name


def _check_impl(caller: pluggy.HookCaller, known: list[str]) -> None:
    for impl in caller.get_hookimpls():
        if not caller.has_spec() and not impl.optionalhook:
            raise HookError(f"unknown hook '{caller.name}'. {nearest(caller.name, known)}")
        if impl.wrapper or impl.hookwrapper:
            raise HookError(f"hook '{caller.name}' is a wrapper; plugins are called one by one")


def _fault(item: Any, kind: str) -> str:
    """Return what is wrong with one thing that a hook returned; empty when nothing is."""
    if not isinstance(item, Component):
        return f"{item!r}, which is not a Component"
    texts = (item.kind, item.name, item.summary, item.target)
    if not all(isinstance(text, str) for text in texts):
        return f"{item!r}, whose fields are not all text"
    if item.kind != kind:
        return f"'{item.name}' of kind '{item.kind}', not '{kind}'"
    if not _NAME.fullmatch(item.name):
        return f"the name {item.name!r}; use a-z, 0-9, '_', '-' and '.', from a letter or digit"
    if kind in STEP_KINDS and item.name in _RESERVED_STEPS:
        return f"the name '{item.name}', which recipes use for any quantizer"
    if not item.summary.strip() or "\n" in item.summary:
        return f"'{item.name}' without a summary of one line"
    if not _TARGET.fullmatch(item.target):
        return f"'{item.name}' with the target {item.target!r}; write 'module:attribute'"
    return ""
