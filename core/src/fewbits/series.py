"""Recipes run one after another on the same model and data: what two in a row share runs once."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fewbits.execution import Setting, perform
from fewbits.interfaces import Runnable
from fewbits.model import Model
from fewbits.planning import Planned, plan
from fewbits.recipe import Recipe, Step

if TYPE_CHECKING:
    from fewbits.plugins import Registry


class Series:
    """Runs recipes; the steps that a recipe has in common with the one before are not repeated.

    A step's chance depends on the seed, its name and the steps before it alone, so a model is the
    same as if its recipe had run by itself. The models behind the steps of the last recipe are
    held, no others.

    Args:
        model: where every recipe starts.
        registry: where the components are; gets the events.
        setting: what all runs share.
        work: folder for what long steps need to go on after an interruption; None keeps nothing.
    """

    def __init__(
        self, model: Model, registry: "Registry", setting: Setting, work: Path | None = None
    ) -> None:
        self._model = model
        self._registry = registry
        self._setting = setting
        self._work = work
        self._path: list[tuple[Step, Model]] = []

    def run(self, recipe: Recipe) -> Model:
        """Return what the recipe makes of the model.

        Raises:
            FewbitsError: before anything ran, if the recipe cannot run; later what a step raises.
        """
        planned = plan(self._model, recipe, self._registry)
        shared = self._shared([each.step for each in planned])
        del self._path[shared:]
        for index, each in enumerate(planned[shared:], shared):
            held = self._path[-1][1] if self._path else self._model
            place: dict[str, Any] = {"step": each.step, "index": index, "total": len(planned)}
            self._registry.before_step(**place, model=held)
            work = self._folder(planned[: index + 1])
            held = perform(held, each, self._setting, work=work)
            if work is not None:
                rmtree(work, ignore_errors=True)
            self._path.append((each.step, held))
            self._registry.after_step(**place, model=held, record=held.history[-1])
        return self._path[-1][1]

    def _folder(self, path: Sequence[Planned]) -> Path | None:
        """Return the folder of the last of some steps, which no other path of steps has."""
        if self._work is None:
            return None
        digest = hashlib.sha256("\n".join(str(each.step) for each in path).encode()).hexdigest()
        return self._work / f"{path[-1].step.use}-{digest[:12]}"

    def _shared(self, steps: list[Step]) -> int:
        """Return how many steps the last recipe began with in the same way."""
        pairs = zip(steps, self._path, strict=False)
        return next(
            (n for n, (step, (done, _)) in enumerate(pairs) if step != done),
            min(len(steps), len(self._path)),
        )


class Remembering(Runnable):
    """A runnable that answers from memory what it was asked before, while memory lasts.

    Args:
        runnable: what answers the first time.
        limit: bytes of outputs to hold.
    """

    def __init__(self, runnable: Runnable, limit: int = 256 << 20) -> None:
        self._runnable = runnable
        self._left = limit
        self._held: dict[bytes, dict[str, NDArray[Any]]] = {}

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return output name → array for a batch of inputs."""
        key = _digest(inputs)
        if key in self._held:
            return self._held[key]
        outputs = self._runnable.run(inputs)
        size = sum(array.nbytes for array in outputs.values())
        if size <= self._left:
            self._left -= size
            self._held[key] = outputs
        return outputs


def _digest(inputs: Mapping[str, NDArray[Any]]) -> bytes:
    digest = hashlib.sha256()
    for name, array in sorted(inputs.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()
