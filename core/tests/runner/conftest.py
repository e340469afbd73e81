"""Components and events of this folder's own, so that nothing but the runner is tested."""

import numpy as np
import onnx_ir as ir
import pytest
from fewbits import archive, runner
from fewbits.component import Component
from fewbits.errors import FewbitsError
from fewbits.hookspecs import hookimpl
from fewbits.interfaces import Algorithm, Quantizer, Result, Target, TargetSpec
from fewbits.model import Encoding, Precision, Stage
from fewbits.options import Options
from fewbits.plugins import Registry
from fewbits.provenance import LayerNote, Report
from fewbits.recipe import Recipe, parse_step
from fewbits.testing.toys import calibration, conv_chain
from pydantic import Field


def with_first_weight(model, change):
    """Return a copy whose first 4-d weight went through `change`."""
    model = model.copy()
    weights = model.graph.initializers.items()
    name, value = next((n, v) for n, v in weights if len(v.shape) == 4)
    array = np.asarray(change(value.const_value.numpy()), np.float32)
    value.const_value = ir.Tensor(array, name=name)
    return model


class ScaleOptions(Options):
    factor: float = Field(2.0, gt=0, description="What to multiply by.")
    note: str | None = Field(None, description="A word.")


class Scale(Algorithm):
    name = "scale"
    Options = ScaleOptions

    def apply(self, model, context):
        factor = self.options.factor
        changed = factor != 1.0
        out = with_first_weight(model, lambda w: w * factor) if changed else model
        note = LayerNote("first", "scaled", values={"factor": np.float32(factor)})
        return Result(out, Report(changed, "scaled", (note,), {"shape": (1, 2)}))


class Noise(Algorithm):
    name = "noise"

    def apply(self, model, context):
        context.progress("noise", 1, 1, "layers")
        drawn = context.rng.normal(size=4)
        out = with_first_weight(model, lambda w: w + drawn[0])
        return Result(out, Report(True, metrics={"drawn": drawn}))


class Uniform(Quantizer):
    name = "uniform"

    def apply(self, model, context):
        peak = 0.0
        for batch in context.need_calibration("uniform").batches(context.batch_size):
            peak = max(peak, *(float(np.abs(x).max()) for x in batch.inputs.values()))
        encoding = Encoding(8, False, np.float32(peak / 255), np.asarray(0, np.int64))
        out = model.copy().advance(
            Stage.QUANTIZED,
            encodings={"image": encoding},
            precisions={"conv": Precision(8, 8)},
        )
        return Result(out, Report(True, "quantized"))


class Tune(Algorithm):
    name = "tune"
    stage = Stage.QUANTIZED

    def apply(self, model, context):
        return Result(with_first_weight(model, lambda w: w + 1), Report(True))


class Fails(Algorithm):
    name = "fails"

    def apply(self, model, context):
        raise KeyboardInterrupt


class Breaks(Algorithm):
    name = "breaks"

    def apply(self, model, context):
        return 1 / 0


class Spoils(Algorithm):
    name = "spoils"

    def apply(self, model, context):
        model.graph[0].name = "spoiled"
        return Result(with_first_weight(model, lambda w: w + 1), Report(True))


class Boasts(Algorithm):
    name = "boasts"

    def apply(self, model, context):
        return Result(model.copy(), Report(True))


class Hides(Algorithm):
    name = "hides"

    def apply(self, model, context):
        return Result(with_first_weight(model, lambda w: w + 1), Report(False))


class Forgets(Algorithm):
    name = "forgets"

    def apply(self, model, context):
        return model


class Silent(Algorithm):
    name = "silent"

    def apply(self, model, context):
        return Result(model, None)


class Cuts(Algorithm):
    name = "cuts"

    def apply(self, model, context):
        out = model.copy()
        out.graph.outputs[0].name = "renamed"
        return Result(out, Report(True))


class Babbles(Algorithm):
    name = "babbles"

    def apply(self, model, context):
        out = with_first_weight(model, lambda w: w + 1)
        return Result(out, Report(True, metrics={"thing": object()}))


class Leaps(Algorithm):
    name = "leaps"

    def apply(self, model, context):
        return Result(model.copy().advance(Stage.COMPILED), Report(True))


class Counts(Algorithm):
    """Says which samples it gets, and adds their number to a weight."""

    name = "counts"

    def apply(self, model, context):
        given = [_samples(dataset) for dataset in (context.calibration, context.held_out)]
        metrics = {
            "calibration": len(given[0]),
            "held_out": len(given[1]),
            "shared": len(given[0] & given[1]),
        }
        out = with_first_weight(model, lambda w: w + len(given[0]))
        return Result(out, Report(True, "counted", metrics=metrics))


class Judges(Counts):
    name = "judges"
    holds_out = 5


def _samples(dataset):
    if dataset is None:
        return set()
    return {x.tobytes() for batch in dataset.batches(3) for x in batch.inputs["image"]}


class HeedOptions(Options):
    factor: float = Field(0.0, ge=0, description="What to multiply by; 0 as the next step does.")


class Heed(Scale):
    name = "heed"
    Options = HeedOptions

    def options_before(self, following):
        factors = [step.options.factor for step in following if type(step) is Scale]
        return {"factor": factors[0]} if factors and not self.options.factor else {}


class Board(Target):
    name = "board"
    spec = TargetSpec(frozenset({Precision(8, 8)}))
    suffix = ".bin"

    def check(self, model):
        return []

    def emulator(self, model, threads=None):
        raise NotImplementedError

    def compile(self, model, calibration=None):
        return archive.digest(model).encode()


ALGORITHMS = (
    Scale,
    Heed,
    Noise,
    Tune,
    Fails,
    Breaks,
    Spoils,
    Boasts,
    Hides,
    Forgets,
    Silent,
    Cuts,
    Babbles,
    Counts,
    Judges,
)


class Plugin:
    @hookimpl
    def algorithms(self):
        return [component("algorithm", cls) for cls in (*ALGORITHMS, Leaps)]

    @hookimpl
    def quantizers(self):
        return [component("quantizer", Uniform)]

    @hookimpl
    def targets(self):
        return [component("target", Board)]


class Diary:
    """Writes down every event."""

    def __init__(self):
        self.events = []

    @hookimpl
    def before_step(self, step, index, total, model):
        self.events.append(("before", str(step), index, total, model.stage))

    @hookimpl
    def after_step(self, step, index, total, model, record):
        self.events.append(("after", record.use, index, total, model.stage))

    @hookimpl
    def progress(self, label, done, total, unit):
        self.events.append((label, done, total, unit))


def component(kind, cls):
    return Component(kind, cls.name, f"the {cls.name}", f"{__name__}:{cls.__name__}")


@pytest.fixture
def registry():
    found = Registry()
    found.register(Plugin(), "ours")
    return found


@pytest.fixture
def diary(registry):
    found = Diary()
    registry.register(found, "diary")
    return found


def recipe(*texts):
    return Recipe(tuple(parse_step(text) for text in texts))


@pytest.fixture
def go(registry):
    """Return a function that runs steps on a toy network."""

    def call(*texts, model=None, **options):
        start = conv_chain() if model is None else model
        options = {"calibration": calibration(start, 16), **options}
        return runner.run(start, recipe(*texts), registry=registry, target="board", **options)

    return call


@pytest.fixture
def fault():
    """Return a function that calls another and returns the error it raises, hint checked."""

    def call(function, *arguments, kind=FewbitsError, **options):
        with pytest.raises(kind) as caught:
            function(*arguments, **options)
        assert caught.value.hint
        return caught.value

    return call
