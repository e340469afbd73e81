"""The installed plugins and what they offer: stevedore finds, pluggy calls, this joins them.

A bad plugin never stops the others and is never silent: its record says what is wrong with it.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fewbits.component import KINDS, Component
from fewbits.discovery import Found, PluginRecord, canonical, find
from fewbits.errors import PluginError, RecipeError, nearest
from fewbits.pluginhost import STEP_KINDS, Host, slot
from fewbits.resolve import ComponentError, resolve

if TYPE_CHECKING:
    from fewbits.model import Model
    from fewbits.provenance import StepRecord
    from fewbits.recipe import Step

__all__ = ["Fault", "PluginRecord", "Registered", "Registry", "discover", "from_environment"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Registered:
    """A component on offer, with the plugin that it belongs to."""

    component: Component
    record: PluginRecord


@dataclass(frozen=True, slots=True)
class Fault:
    """A component that cannot be used, as `Registry.verify` finds it.

    Args:
        component: which one.
        record: its plugin.
        message: what is wrong, in one sentence.
        hint: the remedy.
        missing: whether only an optional library is not installed, which breaks nothing.
    """

    component: Component
    record: PluginRecord
    message: str
    hint: str
    missing: bool

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


def discover(*, disabled: Collection[str] = (), path: Sequence[str] | None = None) -> "Registry":
    """Find every installed plugin, check it and register it; nothing bad in one raises here.

    Args:
        disabled: names of plugins or of distributions to leave out.
        path: folders whose distributions to look at; `sys.path` by default. Plugins are
            imported by name all the same, so their code must lie on `sys.path`.
    """
    return Registry(find(disabled, path), disabled=disabled)


def from_environment(*, disabled: Collection[str] = ()) -> "Registry":
    """Discover plugins without those in `disabled` and in `FEWBITS_DISABLE` (`a,b`)."""
    named = os.environ.get("FEWBITS_DISABLE", "").split(",")
    return discover(disabled={*disabled, *(name.strip() for name in named if name.strip())})


class Registry:
    """Plugins with their records, and the components of those that are active.

    Args:
        found: what discovery brought, in the order in which plugins are listed and called.
        disabled: the names that discovery was asked to leave out.
    """

    def __init__(self, found: Iterable[Found] = (), *, disabled: Collection[str] = ()) -> None:
        self._hosts = [Host(f.record, f.plugin, builtin=f.builtin) for f in found]
        _settle_clashes(self._hosts)
        installed = {canonical(n) for r in self.records for n in (r.name, r.distribution)}
        #: names that were to be left out and that no installed plugin has.
        self.unknown_disabled = tuple(sorted(n for n in disabled if canonical(n) not in installed))

    @property
    def records(self) -> tuple[PluginRecord, ...]:
        """What became of each plugin, the built-ins first, then by name."""
        return tuple(host.record for host in self._hosts)

    def components(self, kind: str | None = None) -> list[Registered]:
        """Return what the active plugins offer, of one kind or of all.

        Raises:
            PluginError: there is no such kind.
        """
        if kind is not None and kind not in KINDS:
            raise PluginError(f"There is no kind '{kind}'.", hint=nearest(kind, KINDS))
        return [
            Registered(component, host.record)
            for host in self._hosts
            if host.active
            for component in host.components
            if kind in (None, component.kind)
        ]

    def get(self, kind: str, name: str) -> Registered:
        """Return one component's description.

        Raises:
            PluginError: there is none; says which name is nearest, or why the plugin that has
                it is not active.
        """
        found = next((r for r in self.components(kind) if r.component.name == name), None)
        if found is None:
            message, hint = self._absence((kind,), name)
            raise PluginError(message, hint=hint)
        return found

    def step(self, name: str, *, others: Collection[str] = ()) -> Registered:
        """Return the algorithm or quantizer that a recipe calls `name`.

        Args:
            name: the component's name.
            others: what a step may be called besides, for the hint.

        Raises:
            RecipeError: there is none; as `get`.
        """
        for kind in STEP_KINDS:
            for registered in self.components(kind):
                if registered.component.name == name:
                    return registered
        message, hint = self._absence(STEP_KINDS, name, others)
        raise RecipeError(message, hint=hint)

    def load(self, kind: str, name: str) -> Any:
        """Import a component and return its class (a command's Typer app).

        Raises:
            PluginError: as `get`; or it cannot be imported or is not of its kind, which makes
                its plugin broken, unless only an optional library is missing.
        """
        registered = self.get(kind, name)
        try:
            return resolve(registered.component, registered.record.distribution)
        except ComponentError as error:
            raise self._failed(registered, error) from error

    def create(self, kind: str, name: str, options: Mapping[str, Any]) -> Any:
        """Load a component, validate its options and return an instance.

        Raises:
            PluginError: as `load`.
            RecipeError: the options do not fit; lists all that is wrong with them.
        """
        from fewbits.options import Options, build

        found = self.load(kind, name)
        owner = f"step '{name}'" if kind in STEP_KINDS else f"{kind} '{name}'"
        checked = build(getattr(found, "Options", Options), options, owner=owner)
        return found(checked) if hasattr(found, "Options") else found()

    def verify(self) -> list[Fault]:
        """Load every component, and return those that cannot be used."""
        faults = []
        for registered in self.components():
            try:
                resolve(registered.component, registered.record.distribution)
            except ComponentError as error:
                failure = self._failed(registered, error)
                faults.append(_fault(registered, failure, error.missing))
        return faults

    def register(self, plugin: object, name: str) -> None:
        """Add a plugin of this process, such as a progress bar: an object with hookimpls.

        Raises:
            PluginError: its hooks are wrong, or it claims a name that is taken.
        """
        host = Host(PluginRecord(name, "", ""), plugin)
        if any(name == record.name for record in self.records):
            raise PluginError(f"The plugin name '{name}' is taken.", hint="Choose another.")
        _settle_clashes([*self._hosts, host], newcomer=host)
        if not host.active:
            raise PluginError(
                f"{host.record} cannot be registered: {host.record.reason}.",
                hint="docs/plugins.md shows every hook.",
            )
        self._hosts.append(host)

    def unregister(self, name: str) -> None:
        """Take out a plugin that `register` added; others stay."""
        self._hosts = [h for h in self._hosts if h.record.distribution or h.record.name != name]

    def before_step(self, step: "Step", index: int, total: int, model: "Model") -> None:
        """Tell every plugin that a step is about to run."""
        self._fire("before_step", step=step, index=index, total=total, model=model)

    def after_step(
        self, step: "Step", index: int, total: int, model: "Model", record: "StepRecord"
    ) -> None:
        """Tell every plugin that a step has finished."""
        self._fire("after_step", step=step, index=index, total=total, model=model, record=record)

    def progress(self, label: str, done: int, total: int | None, unit: str) -> None:
        """Tell every plugin that long work has advanced."""
        self._fire("progress", label=label, done=done, total=total, unit=unit)

    def _fire(self, event: str, **arguments: Any) -> None:
        for host in self._hosts:
            if not host.fire(event, arguments):
                _LOG.warning("%s is not called again: %s", host.record, host.record.reason)

    def _failed(self, registered: Registered, error: ComponentError) -> PluginError:
        """Write a component's failure into its plugin's record; return the error to raise."""
        component, record = registered.component, registered.record
        what = f"{component.kind} '{component.name}'"
        message = f"The {what} of {record} cannot be used: {error.message}."
        if error.missing:
            return PluginError(message, hint=error.hint)
        host = next(h for h in self._hosts if h.components and component in h.components)
        reasons = (host.record.reason, f"{what}: {error.message}")
        host.refuse("broken", "; ".join(filter(None, reasons)), error.__cause__)
        remedy = f"FEWBITS_DISABLE={record.name} leaves the plugin out."
        return PluginError(message, hint=error.hint or f"`fewbits doctor` says more; {remedy}")

    def _absence(
        self, kinds: Sequence[str], name: str, more: Collection[str] = ()
    ) -> tuple[str, str]:
        """Return message and hint for a name that no active plugin offers."""
        what = " or ".join(kinds)
        for host in self._hosts:
            if not host.active and _may_hold(host, kinds, name):
                why = f"{host.record} is {host.record.status}: {host.record.reason}"
                return f"There is no {what} '{name}': {why}.", "See `fewbits doctor`."
        known = [r.component.name for kind in kinds for r in self.components(kind)]
        hints = [nearest(name, [*known, *more])]
        others = [r.component.kind for r in self.components() if r.component.name == name]
        if others:
            hints.append(f"'{name}' is of kind {others[0]}.")
        missing = [f"{h.record} is {h.record.status}" for h in self._hosts if not h.active]
        return f"There is no {what} '{name}'.", " ".join([*hints, *(f"{m}." for m in missing)])


def _fault(registered: Registered, failure: PluginError, missing: bool) -> Fault:
    return Fault(registered.component, registered.record, failure.message, failure.hint, missing)


def _may_hold(host: Host, kinds: Sequence[str], name: str) -> bool:
    """Say whether a plugin that is out has the component, or by its name would have."""
    if host.components:
        return any(c.kind in kinds and c.name == name for c in host.components)
    return name in (host.record.name, canonical(host.record.distribution))


def _settle_clashes(hosts: Sequence[Host], newcomer: Host | None = None) -> None:
    """Take out every plugin with a component that another claims too; the built-ins stay.

    With a `newcomer`, the others were there first and stay.
    """
    claims: defaultdict[tuple[str, str], list[Host]] = defaultdict(list)
    for host in hosts:
        for component in host.components if host.active else ():
            claims[slot(component)].append(host)
    for (kind, name), rivals in claims.items():
        if len(rivals) > 1:
            owners = " and ".join(str(host.record) for host in rivals)
            reason = f"the {kind} '{name}' is claimed by {owners}"
            for host in [newcomer] if newcomer else rivals:
                if not host.builtin:
                    host.refuse("conflict", reason)
