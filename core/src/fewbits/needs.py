"""What a level needs, held against what is there: plugins, torch, images."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fewbits.errors import FewbitsError
from fewbits.levels import HOMES, TRAINING, Level
from fewbits.planning import create
from fewbits.recipe import Step

if TYPE_CHECKING:
    from fewbits.plugins import Registry


@dataclass(frozen=True)
class Unmet:
    """A need that is not met.

    Args:
        what: the need and what is there instead, a clause.
        remedy: what the user can do, a clause.
    """

    what: str
    remedy: str


def unmet(asked: Level, registry: "Registry", images: int) -> list[Unmet]:
    """Return every need of a level that is not met here; plugins are imported only at the end."""
    faults = list(_few_images(asked, images))
    absent = [fault for step in asked.steps if (fault := _absent(step, registry))]
    if faults or absent:
        return [*absent, *faults]
    return [fault for step in asked.steps if (fault := _broken(step, registry))]


def missing(step: Step, registry: "Registry") -> Unmet | None:
    """Return what keeps a step from running here: plugin, torch, or what its import says."""
    return _absent(step, registry) or _broken(step, registry)


def _few_images(asked: Level, images: int) -> Iterator[Unmet]:
    if images < asked.images:
        yield Unmet(
            f"it needs {asked.images} calibration images, and there are {images}",
            f"give {asked.images} with --calib-path",
        )


def _absent(step: Step, registry: "Registry") -> Unmet | None:
    """Find out, without importing it, whether the step's plugin and torch are there."""
    if step.use == "quantize":
        return None
    home = HOMES.get(step.use, "")
    try:
        registry.step(step.use)
    except FewbitsError as error:
        if home and all(record.distribution != home for record in registry.records):
            return Unmet(f"step '{step.use}' is not installed", f"run pip install {home}")
        return Unmet(_clause(error.message), "see `fewbits doctor`")
    if step.use in TRAINING and find_spec("torch") is None:
        return Unmet(
            f"step '{step.use}' needs torch, which is not installed",
            "run pip install 'fewbits[qft]'",
        )
    return None


def _broken(step: Step, registry: "Registry") -> Unmet | None:
    try:
        create(step.use, step.options, registry)
    except FewbitsError as error:
        return Unmet(_clause(error.message), _clause(error.hint) or "see `fewbits doctor`")
    return None


def _clause(sentence: str) -> str:
    return (sentence[:1].lower() + sentence[1:]).rstrip(".")


def unmet_by_quantizer(asked: Level, registry: "Registry") -> list[Unmet]:
    """Return what keeps a compression level from running: its quantizer."""
    quantizers = [s for s in asked.steps if s.use in ("quantize", "mixed_precision")]
    return [fault for step in quantizers if (fault := missing(step, registry))]
