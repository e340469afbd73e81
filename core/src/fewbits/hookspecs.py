"""Every hook that a plugin can implement.

A plugin is a module that marks functions with `fewbits.hookimpl` and is named by one entry
point in the group `fewbits.plugins`. Import nothing heavy in it: `fewbits list` imports every
plugin, and components are imported only when they are used.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from fewbits.component import Component

if TYPE_CHECKING:
    from fewbits.model import Model
    from fewbits.provenance import StepRecord
    from fewbits.recipe import Step

PROJECT = "fewbits"
GROUP = "fewbits.plugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def frontends() -> Iterable[Component]:
    """Offer frontends: classes that read a file into a Model (`interfaces.Frontend`)."""
    return ()


@hookspec
def algorithms() -> Iterable[Component]:
    """Offer algorithms: classes that change a Model and report it (`interfaces.Algorithm`)."""
    return ()


@hookspec
def quantizers() -> Iterable[Component]:
    """Offer quantizers: classes that choose every tensor's encoding (`interfaces.Quantizer`)."""
    return ()


@hookspec
def evaluators() -> Iterable[Component]:
    """Offer evaluators: classes that turn predictions into metrics (`interfaces.Evaluator`)."""
    return ()


@hookspec
def targets() -> Iterable[Component]:
    """Offer targets: classes that know a device's limits and compiler (`interfaces.Target`)."""
    return ()


@hookspec
def datasets() -> Iterable[Component]:
    """Offer dataset readers: classes that open a path as batches (`interfaces.DatasetReader`)."""
    return ()


@hookspec
def models() -> Iterable[Component]:
    """Offer named models: `interfaces.NamedModel` classes with a network, data and a recipe."""
    return ()


@hookspec
def scripts() -> Iterable[Component]:
    """Offer readers of other tools' optimization scripts (`interfaces.ScriptReader`)."""
    return ()


@hookspec
def commands() -> Iterable[Component]:
    """Offer commands: Typer apps that become `fewbits NAME`."""
    return ()


@hookspec
def before_step(step: "Step", index: int, total: int, model: "Model") -> None:
    """Fires before each step of a recipe runs.

    Args:
        step: the step about to run, options resolved.
        index: its position in the recipe, from 0.
        total: how many steps the recipe has.
        model: the model the step gets.
    """


@hookspec
def after_step(step: "Step", index: int, total: int, model: "Model", record: "StepRecord") -> None:
    """Fires after each step of a recipe has finished.

    Args:
        step: the step that ran.
        index: its position in the recipe, from 0.
        total: how many steps the recipe has.
        model: the model the step returned.
        record: what goes into the provenance: digests, duration, report.
    """


@hookspec
def progress(label: str, done: int, total: int | None, unit: str) -> None:
    """Fires whenever a long piece of work has advanced.

    Args:
        label: what is being done ("calibrate").
        done: how many units are done so far.
        total: how many there are; None when that is not known.
        unit: what is counted ("images").
    """
