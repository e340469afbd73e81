"""Noise analysis as the API and the command line offer it: data by path, the target by name."""

from collections.abc import Sequence

from fewbits.analysis import Analysis, Limits
from fewbits.analysis import analyze as measure
from fewbits.compiling import quantized
from fewbits.executables import made_for
from fewbits.interfaces import Target
from fewbits.model import Model
from fewbits.opening import Data, open_data
from fewbits.plugins import Registry, from_environment

#: samples where none are counted; one place at a time costs a run of half the network for each.
COUNTS = {"simple": 64, "advanced": 16}


def analyze(
    model: Model,
    data: Data,
    *,
    mode: str = "simple",
    layers: Sequence[str] = (),
    limits: Limits | None = None,
    count: int | None = None,
    threads: int | None = None,
    batch_size: int = 2,
    registry: Registry | None = None,
) -> Analysis:
    """Measure where a quantized model's noise arises, and say what helps.

    Args:
        model: at stage `quantized` or `compiled`.
        data: samples: a Dataset, a path, an array or arrays by input; labels are not used.
        mode: `simple`: everything quantized, in the numerics of the target that it was quantized
            for, measured at every layer. `advanced`: one layer quantized at a time, measured at
            the outputs.
        layers: names or globs of the layers to show; all if none.
        limits: from where on something is said; `analysis.Limits`.
        count: how many samples to take, from the start; by default at most 64 in mode `simple`
            and 16 in mode `advanced`.
        threads: how many threads to use; None lets the runtime choose.
        batch_size: samples per run.
        registry: the plugins.

    Raises:
        ModelError: the model is not quantized.
        UsageError, RecipeError, DataError, TargetError: as `analysis.analyze`.
    """
    plugins = registry or from_environment()
    target: Target = plugins.create("target", made_for(model), {})
    dataset = open_data(data, model, plugins, count, labelled=False)
    usual = COUNTS.get(mode, len(dataset))
    if count is None and len(dataset) > usual:
        dataset = dataset.select(range(usual))
    return measure(
        quantized(model),
        dataset,
        target,
        mode=mode,
        layers=layers,
        limits=limits,
        batch_size=batch_size,
        threads=threads,
        progress=plugins.progress,
    )
