"""Finds installed plugins and imports them: what may be imported, and what came of it.

stevedore imports, but three of its habits do not suit us (seen in 5.10): it lets AssertionError
and SystemExit through, its conflict resolution groups unsorted entries, and its cache drops
`entry_point.dist` and can serve stale entries. So it is fed entries of our own choosing.
"""

import importlib
import re
import traceback
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, MetadataPathFinder, distributions
from typing import Any, Literal

from stevedore.extension import Extension, ExtensionManager

from fewbits import __version__
from fewbits.hookspecs import GROUP

CORE = "fewbits-core"
_REQUIRES_CORE = re.compile(r"fewbits[-_.]+core(?![\w.-])", re.IGNORECASE)

#: modules between us and a plugin, whose frames say nothing of what is wrong with it.
_MACHINERY = (
    *("fewbits.component", "fewbits.discovery", "fewbits.pluginhost", "fewbits.resolve"),
    *("importlib", "pluggy", "stevedore"),
)

Status = Literal["active", "disabled", "conflict", "incompatible", "broken"]


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """What became of one installed plugin.

    Args:
        name: the entry point's name.
        distribution: the pip distribution it came in; empty for one registered in this process.
        version: that distribution's version.
        status: `active`, `disabled`, `conflict`, `incompatible` or `broken`.
        reason: why it is not active, in one sentence; empty when it is.
        traceback: of whatever it raised; empty otherwise.
    """

    name: str
    distribution: str
    version: str
    status: Status = "active"
    reason: str = ""
    traceback: str = ""

    def __str__(self) -> str:
        origin = f"{self.distribution} {self.version}".strip() or "registered in this process"
        return f"plugin '{self.name}' ({origin})"


@dataclass(frozen=True, slots=True)
class Found:
    """An installed plugin: its record, and the imported object when it is active."""

    record: PluginRecord
    plugin: object = None
    builtin: bool = False


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A plugin that stands in the installed metadata, not imported yet."""

    entry: EntryPoint
    distribution: str
    version: str
    requires: tuple[str, ...]

    @property
    def builtin(self) -> bool:
        return self.entry.name == "builtin" and canonical(self.distribution) == CORE

    def record(self, status: Status = "active", reason: str = "", trace: str = "") -> PluginRecord:
        return PluginRecord(self.entry.name, self.distribution, self.version, status, reason, trace)


class _ImportError(Exception):
    """Carries what an import raised past stevedore, which re-raises some kinds of it."""


class _Importer(ExtensionManager[Any]):
    """stevedore's manager over a given list of entry points; `failures` holds what was raised."""

    def __init__(self, entries: Iterable[EntryPoint]) -> None:
        self._entries = list(entries)
        self.failures: list[tuple[EntryPoint, BaseException]] = []
        super().__init__(GROUP, on_load_failure_callback=self._note)

    def list_entry_points(self) -> list[EntryPoint]:
        """Return the given entries, in place of stevedore's cache."""
        return self._entries

    def _load_one_plugin(self, ep: EntryPoint, *args: Any) -> Extension[Any] | None:
        try:
            return super()._load_one_plugin(ep, *args)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise _ImportError from error

    def _note(self, manager: object, entry: EntryPoint, failure: BaseException) -> None:
        self.failures.append((entry, failure.__cause__ or failure))


def canonical(name: str) -> str:
    """Return a distribution's name as pip compares it.

    >>> canonical("Fewbits_Core")
    'fewbits-core'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def format_error(error: BaseException) -> str:
    """Return an error's traceback from the first frame of the plugin's own."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_globals.get("__name__", "").startswith(_MACHINERY):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def one_line(error: BaseException) -> str:
    """Return an error as `Type: message`, on one line.

    >>> one_line(ValueError("no   such"))
    'ValueError: no such'
    """
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def find(disabled: Collection[str], path: Sequence[str] | None) -> list[Found]:
    """Return every installed plugin, the built-ins first, then by name and distribution.

    Args:
        disabled: names of plugins or of distributions that are not to be imported.
        path: folders to look in; `sys.path` by default.
    """
    importlib.invalidate_caches()
    MetadataPathFinder().invalidate_caches()  # Python 3.11 leaves this one out of the line above
    candidates, unreadable = _read_metadata(path)
    verdicts = {c: _disabled(c, disabled) or _incompatible(c) for c in candidates}
    verdicts |= _clashes([c for c, verdict in verdicts.items() if verdict is None])
    imported = _import([c for c, verdict in verdicts.items() if verdict is None])
    refused = {c: Found(v, builtin=c.builtin) for c, v in verdicts.items() if v is not None}
    everything = imported | refused
    return [everything[c] for c in candidates] + [Found(record) for record in unreadable]


def _read_metadata(
    path: Sequence[str] | None,
) -> tuple[list[_Candidate], list[PluginRecord]]:
    """Read who claims to be a plugin; of a distribution found twice, the first counts."""
    seen: set[str] = set()
    candidates: list[_Candidate] = []
    unreadable: list[PluginRecord] = []
    for dist in distributions() if path is None else distributions(path=list(path)):
        try:
            if GROUP not in (dist.read_text("entry_points.txt") or ""):
                continue
            found = _candidates(dist)
        except Exception as error:
            unreadable.append(_unreadable(dist, error))
            continue
        if found and canonical(found[0].distribution) not in seen:
            seen.add(canonical(found[0].distribution))
            candidates += found
    candidates.sort(key=lambda c: (not c.builtin, c.entry.name, canonical(c.distribution)))
    return candidates, unreadable


def _candidates(dist: Distribution) -> list[_Candidate]:
    name, version, requires = dist.name, dist.version, tuple(dist.requires or ())
    if not name or not version:
        raise ValueError("METADATA holds no name or no version")
    entries = [entry for entry in dist.entry_points if entry.group == GROUP]
    return [_Candidate(entry, name, version, requires) for entry in entries]


def _unreadable(dist: Distribution, error: Exception) -> PluginRecord:
    folder = str(getattr(dist, "_path", dist)).rpartition("/")[2]
    reason = f"the metadata in {folder} cannot be read: {one_line(error)}"
    return PluginRecord(folder, folder, "", "broken", reason, format_error(error))


def _disabled(candidate: _Candidate, disabled: Collection[str]) -> PluginRecord | None:
    asked = {canonical(name) for name in disabled}
    names = (candidate.entry.name, candidate.distribution)
    by = next((name for name in names if canonical(name) in asked), None)
    return candidate.record("disabled", f"'{by}' is switched off") if by else None


def _incompatible(candidate: _Candidate) -> PluginRecord | None:
    """Compare what the plugin says of the core's version with the running core."""
    lines = [line for line in candidate.requires if _REQUIRES_CORE.match(line.strip())]
    if not lines:
        return None
    from packaging.requirements import InvalidRequirement, Requirement

    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            return candidate.record(
                "broken", f"its requirement {line!r} cannot be read", format_error(error)
            )
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and not requirement.specifier.contains(__version__, prereleases=True):
            return candidate.record(
                "incompatible", f"it needs {CORE} {requirement.specifier}, this is {__version__}"
            )
    return None


def _clashes(candidates: Iterable[_Candidate]) -> dict[_Candidate, PluginRecord]:
    """Find names claimed twice: nobody gets the name, except that the built-ins keep theirs."""
    claims: defaultdict[str, list[_Candidate]] = defaultdict(list)
    for candidate in candidates:
        claims[candidate.entry.name].append(candidate)
    losers: dict[_Candidate, PluginRecord] = {}
    for name, rivals in claims.items():
        if len(rivals) > 1:
            owners = " and ".join(f"{c.distribution} {c.version}" for c in rivals)
            reason = f"the plugin name '{name}' is claimed by {owners}"
            losers |= {c: c.record("conflict", reason) for c in rivals if not c.builtin}
    return losers


def _import(candidates: Sequence[_Candidate]) -> dict[_Candidate, Found]:
    """Import plugins; one that raises, whatever it raises, becomes a broken record."""
    importer = _Importer(c.entry for c in candidates)
    plugins = {id(extension.entry_point): extension.plugin for extension in importer}
    failures = {id(entry): error for entry, error in importer.failures}
    return {
        c: _broken_import(c, failures[id(c.entry)])
        if id(c.entry) in failures
        else Found(c.record(), plugins[id(c.entry)], c.builtin)
        for c in candidates
    }


def _broken_import(candidate: _Candidate, error: BaseException) -> Found:
    reason = f"importing '{candidate.entry.value}' raised {one_line(error)}"
    return Found(candidate.record("broken", reason, format_error(error)), None, candidate.builtin)
