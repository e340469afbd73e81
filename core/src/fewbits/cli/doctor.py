"""`fewbits doctor`: every plugin with what is wrong with it, and the environment."""

import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import fewbits
from fewbits.cli.common import Json, NoPlugin, command, is_bad, session_of

if TYPE_CHECKING:
    from fewbits.plugins import PluginRecord, Registry

app = command()

#: distributions whose versions matter when something is off.
_LIBRARIES = ("numpy", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "torch")

#: instructions that decide how fast, and on which kernels, integers run.
_CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


@app.command("doctor")
def doctor(ctx: typer.Context, json: Json = False, no_plugin: NoPlugin = None) -> None:
    """Check the plugins and the environment.

    Imports every component of every plugin. The exit code is 1 when something is wrong.
    """
    session = session_of(ctx)
    registry = session.registry
    problems = [str(problem) for problem in registry.verify()]
    report = {
        "plugins": [plugin_state(record, registry) for record in registry.records],
        "problems": problems,
        "environment": environment(),
    }
    healthy = not any(is_bad(record) for record in registry.records)
    from fewbits.cli import render

    if json:
        render.print_json({"healthy": healthy} | report)
    else:
        _show(report, healthy)
    if not healthy:
        raise typer.Exit(1)


def plugin_state(record: "PluginRecord", registry: "Registry") -> dict[str, Any]:
    """Return all that is known of a plugin, with the names of what it offers."""
    offered = [
        f"{found.component.kind} {found.component.name}"
        for found in registry.components()
        if found.record.name == record.name
    ]
    return {
        "name": record.name,
        "distribution": record.distribution,
        "version": record.version,
        "status": record.status,
        "reason": record.reason,
        "traceback": record.traceback,
        "components": offered,
    }


def environment() -> dict[str, Any]:
    """Return versions, CPU features, threads and free disk, without importing the libraries."""
    return {
        "fewbits": fewbits.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: _version(name) for name in _LIBRARIES},
        "cpu": _cpu_name(),
        "cpu_features": _cpu_features(),
        "threads": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
        "prefix": sys.prefix,
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cpu_lines(*keys: str) -> str:
    """Return the first line of /proc/cpuinfo with one of `keys`, or nothing elsewhere."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return ""
    for line in info.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return ""


def _cpu_name() -> str:
    return _cpu_lines("model name") or platform.processor() or platform.machine()


def _cpu_features() -> list[str]:
    flags = set(_cpu_lines("flags", "Features").split())
    return [name for name in _CPU_FEATURES if name in flags]


def _show(report: dict[str, Any], healthy: bool) -> None:
    from fewbits.cli import render

    render.table(
        ("plugin", "distribution", "status", "offers"),
        [
            (p["name"], f"{p['distribution']} {p['version']}", p["status"], len(p["components"]))
            for p in report["plugins"]
        ],
        right=("offers",),
    )
    for plugin in report["plugins"]:
        if plugin["reason"]:
            render.text(f"{plugin['name']} is {plugin['status']}: {plugin['reason']}")
        if plugin["traceback"]:
            render.text(plugin["traceback"].rstrip())
    for problem in report["problems"]:
        render.text(problem)
    for key, value in report["environment"].items():
        shown = " ".join(value) if isinstance(value, list) else value
        absent = "none" if isinstance(value, list) else "not installed"
        render.text(f"{key.replace('_', ' '):<14}{shown or absent}")
    render.text("\nAll is well." if healthy else "\nSomething is wrong; see above.")
