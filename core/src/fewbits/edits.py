"""Networks whose ends were edited: what they are compared with, and what their samples are for.

A step that edits the inputs or outputs on purpose (`Algorithm.edits`) makes another network of
it. What was lost to quantization shows only beside a float network with the same ends.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fewbits.interfaces import Context
from fewbits.model import Model, Stage
from fewbits.planning import Planned, create
from fewbits.provenance import StepRecord
from fewbits.recipe import Recipe

if TYPE_CHECKING:
    from fewbits.plugins import Registry


def float_counterpart(model: Model, registry: "Registry") -> Model:
    """Return the network as parsed, with the edits of the model's history, in float.

    Raises:
        PluginError: the plugin of an edit is not there any more.
        FewbitsError: an edit cannot be done again; says why.
    """
    edited = model.at(Stage.PARSED)
    for record in model.history:
        if record.edits:
            edited = _done(edited, create(record.use, record.options, registry), registry)
    return edited


def before_samples(
    model: Model, steps: Recipe | Iterable[StepRecord], registry: "Registry"
) -> Model:
    """Return what the first step that may use samples gets: the model behind the leading edits.

    Samples are opened for this model's inputs and preprocessing.

    Args:
        model: where the steps start.
        steps: a recipe, or records of a history.
        registry: where the components are.

    Raises:
        FewbitsError: a step is unknown, or an edit cannot be done.
    """
    for step in steps.steps if isinstance(steps, Recipe) else steps:
        if isinstance(step, StepRecord) and not step.edits:
            break
        planned = create(step.use, step.options, registry)
        if not planned.algorithm.edits:
            break
        model = _done(model, planned, registry)
    return model


def is_edited(model: Model) -> bool:
    """Whether a step has edited the network's inputs or outputs."""
    return any(record.edits for record in model.history)


def _done(model: Model, planned: Planned, registry: "Registry") -> Model:
    context = Context(registry.create("target", "cpu", {}))
    return planned.algorithm.apply(model, context).model
