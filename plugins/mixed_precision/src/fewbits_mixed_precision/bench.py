"""A calibrated network and the samples on which choices of bits are tried."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod

import numpy as np
from fewbits.data import Dataset
from fewbits.graph import Layer
from fewbits.interfaces import Context
from fewbits.layermatrix import weight_shape
from fewbits.model import Model, Precision
from fewbits.modes import need_mode
from fewbits.quantizing import Calibrated, calibrate
from fewbits.relay import Relay
from fewbits.runtime import Session

from fewbits_mixed_precision.floor import Measured
from fewbits_mixed_precision.options import MixedPrecisionOptions
from fewbits_mixed_precision.sensitivity import Judge, Sensitivity, judge, outputs_of, sensitivities
from fewbits_mixed_precision.sizes import LOW
from fewbits_mixed_precision.wide import wide_mode, widened

STEP = "mixed_precision"

Modes = Mapping[str, Precision]


@dataclass(frozen=True)
class Bench:
    """A calibrated network and the samples on which choices are tried.

    Args:
        calibrated: the network, in float, with its statistics.
        options: of the step.
        context: of the step.
        samples: on which choices are tried.
        judge: compares outputs on them with the float network's.
        batch: samples per run.
    """

    calibrated: Calibrated
    options: MixedPrecisionOptions
    context: Context
    samples: Dataset
    judge: Judge
    batch: int

    @classmethod
    def over(cls, model: Model, options: MixedPrecisionOptions, context: Context) -> "Bench":
        """Calibrate a network, and spread the samples evenly over the calibration data."""
        calibrated = calibrate(model, options, context, step=STEP)
        dataset = context.need_calibration(STEP)
        count = min(options.dataset_size, len(dataset))
        rows = np.linspace(0, len(dataset) - 1, count).round().astype(np.int64)
        return cls._judging(calibrated, options, context, dataset.select(rows))

    @classmethod
    def _judging(
        cls,
        calibrated: Calibrated,
        options: MixedPrecisionOptions,
        context: Context,
        samples: Dataset,
    ) -> "Bench":
        session = Session(calibrated.model.network, threads=context.threads)
        size = session.inputs[0].shape[0] or context.batch_size
        labelled = options.metric == "task" or options.max_drop is not None
        reference = outputs_of(session, samples, size)
        offset = options.label_offset if labelled else None
        compared = judge(reference, samples, size, offset=offset)
        return cls(calibrated, options, context, samples, compared, size)

    def on_all_data(self) -> "Bench":
        """Return the same on every calibration sample."""
        dataset = self.context.need_calibration(STEP)
        return self._judging(self.calibrated, self.options, self.context, dataset)

    @property
    def high(self) -> Precision:
        """What layers have that keep their bits."""
        return Precision.parse(self.options.precision)

    @property
    def low(self) -> Precision:
        """What layers get that lose bits."""
        return need_mode(Precision(self.high.activation_bits, LOW), self.context)

    @property
    def weights(self) -> dict[str, int]:
        """Layer → number of weights, of every layer that runs in integers."""
        found = self.calibrated.layers()
        return {layer.name: prod(weight_shape(layer)) for layer in found}

    def free(self) -> list[Layer]:
        """Return the layers whose mode was not given by name."""
        globs = self.options.layers
        return [
            layer
            for layer in self.calibrated.layers()
            if not any(fnmatchcase(layer.name, glob) or layer.name == glob for glob in globs)
        ]

    def lowerable(self, modes: Modes) -> list[Layer]:
        """Return the layers that may get 4 bits: those that are neither named nor widened."""
        return [layer for layer in self.free() if modes[layer.name] == self.high]

    def lowered(self, modes: Modes, names: Iterable[str]) -> Modes:
        """Return the modes with some layers at 4 bits, as this target runs them."""
        return self._spread({**modes, **dict.fromkeys(names, self.low)})

    def quantized(self, modes: Modes) -> Model:
        """Return the model in these modes."""
        return self.calibrated.quantized(modes, self.context)

    def measured(self, quantized: Model) -> Measured:
        """Run a quantized model in the target's emulator."""
        emulator = self.context.target.emulator(quantized, self.context.threads)
        outputs = outputs_of(emulator, self.samples, self.batch)
        return Measured(self.judge.noise(outputs), self.judge.drop(outputs))

    def sensitivities(self, chosen: list[Layer]) -> list[Sensitivity]:
        """Return what 4-bit weights cost, for each layer."""
        return self._alone(chosen, self.low, activations=False)

    def with_wide_layers(self) -> tuple[Modes, dict[str, float]]:
        """Return the modes with 16 bits where they are needed most, and what they save."""
        modes, share = self._spread(self.calibrated.modes), self.options.ratio_16bit
        if not share:
            return modes, {}
        mode, free = wide_mode(self.context), self.free()
        before = self._alone(free, self.high, activations=True)
        after = self._alone(free, mode, activations=True)
        metric = self.options.metric
        gains = {
            a.layer: a.cost(metric) - b.cost(metric) for a, b in zip(before, after, strict=True)
        }
        limit = share * sum(self.weights.values())
        return widened(modes, gains, self.weights, mode, limit, self._spread), gains

    def _alone(
        self, chosen: list[Layer], mode: Precision, *, activations: bool
    ) -> list[Sensitivity]:
        if not chosen:
            return []
        quantized = self.quantized(dict.fromkeys((layer.name for layer in chosen), mode))
        network, threads = self.calibrated.model.network, self.context.threads
        relay = Relay(network, self.samples, self.judge.reference, self.batch, threads=threads)
        told = self.context.track(chosen, "sensitivity", len(chosen), "layers")
        return list(sensitivities(told, quantized, relay, self.judge, with_activations=activations))

    def _spread(self, modes: Modes) -> Modes:
        return self.context.target.spread(self.calibrated.model, modes)
