"""The algorithm `qft`: finetunes every degree of freedom of a quantized network at once."""

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from fewbits.archive import content
from fewbits.data import parted, take
from fewbits.errors import DataError, ModelError
from fewbits.graph import constant, layers
from fewbits.interfaces import Algorithm, Context, Result
from fewbits.model import Model, Stage
from numpy.typing import NDArray

from fewbits_qft import account
from fewbits_qft.backbone import compared_tensors
from fewbits_qft.options import QftOptions

if TYPE_CHECKING:
    import torch

    from fewbits_qft.samples import Inputs
    from fewbits_qft.trainer import Task, Trainer

_FEWEST = 2


class Qft(Algorithm):
    """Quantization-aware finetuning without labels: the float network is the teacher."""

    name = "qft"
    stage = Stage.QUANTIZED
    needs_calibration = True
    requires: ClassVar[Mapping[str, str]] = {"torch": "'fewbits[qft]'"}
    Options = QftOptions

    def __init__(self, options: QftOptions | None = None) -> None:
        super().__init__(options)
        self.holds_out = self.options.val_images

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model with its best state, or as it was where training made it no better.

        Raises:
            DataError: there is no calibration data, or too little.
            ModelError: the model has no layers in integers, or an op that torch is not taught.
            RecipeError: a layer or tensor that an option names does not exist.
        """
        from fewbits.trainable.memory import blocks_kept
        from fewbits.trainable.writeback import trained_model

        from fewbits_qft.devices import device_of, threads_limited
        from fewbits_qft.processes import together
        from fewbits_qft.trainer import Trainer, put_weights

        if not self.options.train:
            return Result(model.copy(), account.locked(model))
        device = device_of(self.options.device)
        with blocks_kept(), threads_limited(context.threads), together(device) as processes:
            task = self._task(model, context, device)
            trainer = Trainer(task, self.options, device, processes)
            self._train(trainer, context)
            best = trainer.best_round
            if best.number == 0:
                return Result(
                    model.copy(), account.kept(model, trainer.done, best, diverged=trainer.diverged)
                )
            processes.agree(trainer.best)
            put_weights(task.network, trainer.best)
            new = trained_model(task.network)
        changed = content(new) != content(model)
        return Result(new, account.trained(model, new, trainer.done, best, changed=changed))

    def _task(self, model: Model, context: Context, device: "torch.device") -> "Task":
        from fewbits.trainable.network import QuantizedNetwork

        from fewbits_qft.teacher import teacher_for
        from fewbits_qft.trainer import Task

        options = self.options
        compared = compared_tensors(model, options.loss_layer_names, options.loss_factors)
        names = tuple(dict.fromkeys([*compared, *model.output_names]))
        train, held_out, seen = self._samples(model, context)
        network = QuantizedNetwork(model, _start(model)).to(device)
        coarse = {"auto": device.type == "cuda"}.get(options.dtype, options.dtype == "bfloat16")
        for part in network.layers.values():
            part.coarse = coarse and network.adds_up_exactly(part)
        teacher = teacher_for(model.at(Stage.OPTIMIZED), names, device, context.threads)
        seed = int(context.rng.integers(2**32))
        about = f"{content(model)} {_digest(train)} {_digest(held_out)}"
        return Task(
            network, teacher, compared, model.output_names, train, held_out, seed, about, seen
        )

    def _samples(self, model: Model, context: Context) -> "tuple[Inputs, Inputs, bool]":
        """Return the samples to train on, those to judge by, and whether earlier steps saw these.

        Where the run holds none out, some of the calibration samples are kept from training.

        Raises:
            DataError: there are none, or one.
            ModelError: there is nothing to train.
        """
        from fewbits_qft.samples import gathered

        if not model.precisions:
            raise ModelError(
                f"{model.name} has no layer in integers to train.", hint="Leave the step out."
            )
        dataset = context.need_calibration(self.name)
        if len(dataset) < _FEWEST:
            raise DataError(
                f"qft needs {_FEWEST} samples at least, and there are {len(dataset)}.",
                hint="Give more with --calib-path, or leave --calib-count out.",
            )
        held_out = context.held_out
        if held_out is None:
            dataset, held_out = parted(dataset, self.options.val_images)
        train = gathered(take(dataset, min(len(dataset), self.options.dataset_size)))
        judged = train if held_out is None else gathered(held_out)
        return train, judged, context.held_out is None or _seen_before(model)

    def _train(self, trainer: "Trainer", context: Context) -> None:
        """Train all rounds, those done before an interruption left out."""
        from fewbits_qft.keeping import go_on, keep
        from fewbits_qft.trainer import DivergedError

        about = f"{self.options.model_dump_json()} {trainer.task.about} {trainer.task.seed}"
        if not go_on(trainer, context.work, about):
            trainer.start()
        total = self.options.epochs * trainer.steps_a_round
        while len(trainer.done) <= self.options.epochs:
            before = (len(trainer.done) - 1) * trainer.steps_a_round
            try:
                trainer.round(_Heard(context, before, total, trainer.best_round.judged.snr_db))
            except DivergedError:
                trainer.diverged = True
                return
            if context.work is not None and trainer.leads:
                keep(trainer, context.work, about)


def _seen_before(model: Model) -> bool:
    """Whether a step of an earlier run may have calibrated on what is held out now."""
    return any(record.data and "held_out" not in record.data for record in model.history)


def _digest(inputs: "Inputs") -> str:
    """Return a digest of samples."""
    parts = [f"{name} {x.dtype} {x.shape}".encode() + x.tobytes() for name, x in inputs.items()]
    return sha256(b"".join(parts)).hexdigest()


class _Heard:
    """Tells the run's progress of each batch.

    Args:
        context: the step's.
        before: batches done in earlier rounds.
        total: batches in all rounds.
        snr_db: of the best state so far.
    """

    def __init__(self, context: Context, before: int, total: int, snr_db: float) -> None:
        self._context, self._before, self._total, self._snr = context, before, total, snr_db

    def __call__(self, done: int, loss: float) -> None:
        label = f"qft (best {self._snr:.1f} dB, loss {loss:.3f})"
        self._context.progress(label, self._before + done, self._total, "batches")


def _start(model: Model) -> dict[str, NDArray[np.float32]]:
    """Return the full-precision weights that round to what the model has, by name.

    Where the float model has a weight of the same name and shape, the value nearest to it.
    """
    from fewbits.trainable.writeback import within_steps

    full = model.at(Stage.OPTIMIZED).graph.initializers
    found = {}
    for layer in layers(model.graph):
        name = str(layer.weight.name)
        rounded, known = constant(layer.weight), constant(full.get(name))
        if layer.name not in model.precisions or known is None or rounded is None:
            continue
        if known.shape == rounded.shape:
            pair = np.asarray(known, np.float32), np.asarray(rounded, np.float32)
            found[name] = within_steps(*pair, model.encodings[name])
    return found
