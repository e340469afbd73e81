"""The loop: batches, gradients, judgement after each round."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fewbits.errors import RecipeError
from fewbits.metrics import snr_db
from fewbits.selection import matched
from fewbits.trainable.network import QuantizedNetwork
from numpy.typing import NDArray
from torch import Tensor, nn

from fewbits_qft import losses, samples
from fewbits_qft.options import QftOptions
from fewbits_qft.processes import Processes
from fewbits_qft.schedule import rate
from fewbits_qft.teacher import Teacher

Weights = dict[str, Tensor]
Heard = Callable[[int, float], None]


@dataclass(frozen=True)
class Judgement:
    """How close a state is to the float network, on samples that it is not trained on.

    Args:
        loss: what training minimises.
        snr_db: mean SNR of the network's first output, in dB.
        agreement: percent of samples with the same highest class; None where an output holds no
            scores of classes.
    """

    loss: float
    snr_db: float
    agreement: float | None


@dataclass(frozen=True)
class Round:
    """What one round came to.

    Args:
        number: from 1; 0 is the start.
        loss: mean training loss; NaN for the start.
        judged: on the samples held out.
    """

    number: int
    loss: float
    judged: Judgement


@dataclass(frozen=True)
class Task:
    """What a network is trained for.

    Args:
        network: changed by training.
        teacher: the float network.
        compared: tensor name → factor in the loss.
        outputs: names of the network's outputs.
        train: input name → samples to train on.
        held_out: input name → samples to judge by.
        seed: where chance comes from.
        about: what tells this task from others with the same options.
        seen: whether earlier steps have seen the samples to judge by; then they are varied.
    """

    network: QuantizedNetwork
    teacher: Teacher
    compared: Mapping[str, float]
    outputs: Sequence[str]
    train: samples.Inputs
    held_out: samples.Inputs
    seed: int
    about: str = ""
    seen: bool = False


class DivergedError(Exception):
    """Training has left what numbers can hold; the best state so far stands."""


class Trainer:
    """Trains a network, a round at a time.

    Args:
        task: what for.
        options: how.
        device: where.
        processes: with whom.
    """

    def __init__(
        self, task: Task, options: QftOptions, device: torch.device, processes: Processes
    ) -> None:
        self.task, self.options, self._device = task, options, device
        self._processes = processes
        self.optimizer = torch.optim.Adam(_groups(task.network, options))
        self._parallel = processes.wrapped(task.network)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self.done: list[Round] = []
        self.diverged = False
        self.best: Weights = weights_of(task.network)

    @property
    def _weights_move(self) -> bool:
        return any(part.weight.requires_grad for part in self.task.network.layers.values())

    @property
    def steps_a_round(self) -> int:
        """Number of batches in a round."""
        return math.ceil(self.options.dataset_size / self.options.batch_size)

    @property
    def best_round(self) -> Round:
        """The round with the least loss on the samples held out."""
        return min(self.done, key=lambda each: each.judged.loss)

    @property
    def leads(self) -> bool:
        """Whether this process writes for all."""
        return self._processes.rank == 0

    def start(self) -> None:
        """Judge the network as it stands, as round 0."""
        self.done = [Round(0, math.nan, self._judge())]

    def round(self, heard: Heard) -> Round:
        """Train for one round, judge it, and remember it if it is the best so far.

        Args:
            heard: told after each batch: batches done in this round, and the loss.

        Raises:
            DivergedError: the loss or a step is no number any more.
        """
        number, options = len(self.done), self.options
        rng = np.random.default_rng([self.task.seed, number])
        count = len(next(iter(self.task.train.values())))
        order = samples.rounds(count, options.dataset_size, rng)
        drawn = samples.batches(self.task.train, order, options.batch_size, options.augment, rng)
        total = 0.0
        for index, batch in enumerate(drawn):
            step = (number - 1) * self.steps_a_round + index
            self._set_rates(step)
            loss = self._step(batch, step / (options.epochs * self.steps_a_round))
            if not self._sound(loss):
                raise DivergedError
            total += loss
            heard(index + 1, loss)
        held = Round(number, total / self.steps_a_round, self._judge())
        if held.judged.loss < self.best_round.judged.loss:
            self.best = weights_of(self.task.network)
        self.done.append(held)
        return held

    def _sound(self, loss: float) -> bool:
        """Whether training can go on: a finite loss and steps that are numbers above zero."""
        network = self.task.network
        steps = [part.step for part in network.layers.values()]
        steps += [each.step for each in network.activations.values()]
        ends = torch.stack([each.detach().min() for each in steps])
        return math.isfinite(loss) and bool((ends > 0).all()) and bool(ends.isfinite().all())

    def _set_rates(self, step: int) -> None:
        options = self.options
        steps = options.epochs * self.steps_a_round
        warmup = min(round(options.warmup_epochs * self.steps_a_round), steps - 1)
        factor = rate(step, steps, warmup, options.cycles)
        for group, full in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = full * factor

    def _step(self, batch: samples.Inputs, progress: float) -> float:
        """Take one step and return the loss.

        Args:
            batch: samples, over all processes.
            progress: share of all steps that are done.
        """
        own = self._processes.share(batch)
        truth = self._on_device(self.task.teacher.answers(own))
        found = self._parallel(_tensors(own, self._device), tuple(self.task.compared))
        loss = losses.total(self.options.loss_type, found, truth, self.task.compared)
        pull = self.options.dampening * progress * self.done[0].judged.loss
        drawn = pull * self.task.network.spread() if pull and self._weights_move else 0.0
        self.optimizer.zero_grad(set_to_none=True)
        (loss + drawn).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return self._processes.mean(float(loss.detach()))

    def _judge(self) -> Judgement:
        """Return how close the network is to the float one on the samples held out.

        If earlier steps have seen them they are varied, the same way each time: a layer with more
        inputs than samples can have learnt them by heart.
        """
        names = tuple(dict.fromkeys([*self.task.compared, *self.task.outputs]))
        held_out, options = self.task.held_out, self.options
        rows = np.arange(len(next(iter(held_out.values()))))
        rng = np.random.default_rng([self.task.seed, 0])
        loss, truths, founds = 0.0, [], []
        vary = options.augment if self.task.seen else ()
        for batch in samples.batches(held_out, rows, options.batch_size, vary, rng):
            truth = self._on_device(self.task.teacher.answers(batch))
            with torch.no_grad():
                found = self.task.network(_tensors(batch, self._device), names)
            part = losses.total(options.loss_type, found, truth, self.task.compared)
            loss += float(part) * len(next(iter(batch.values())))
            truths.append(truth[self.task.outputs[0]].cpu().numpy())
            founds.append(found[self.task.outputs[0]].cpu().numpy())
        return _judgement(loss / len(rows), np.concatenate(truths), np.concatenate(founds))

    def _on_device(self, tensors: Mapping[str, Tensor]) -> Weights:
        return {name: x.to(self._device) for name, x in tensors.items()}


def weights_of(network: QuantizedNetwork) -> Weights:
    """Return copies of all parameters, by kind and name."""
    return {
        f"{kind}:{name}": parameter.detach().clone()
        for kind, members in network.degrees().items()
        for name, parameter in members.items()
    }


def put_weights(network: QuantizedNetwork, weights: Weights) -> None:
    """Give all parameters the values that `weights_of` returned."""
    with torch.no_grad():
        for kind, members in network.degrees().items():
            for name, parameter in members.items():
                parameter.copy_(weights[f"{kind}:{name}"])


def _groups(network: QuantizedNetwork, options: QftOptions) -> list[dict[str, Any]]:
    """Return what moves, by learning rate; everything else is locked.

    Where weights and factors are locked integers stay, even if their steps move.

    Raises:
        RecipeError: nothing moves.
    """
    chosen = _chosen(network, options.layers)
    slow, fast = options.scale_learning_rate, options.learning_rate
    groups: dict[float, list[nn.Parameter]] = {}
    for name, part in network.layers.items():
        if not {"weights", "factors"} & set(options.train) or name not in chosen:
            part.hold_integers(network.factors.detach())
    for kind, members in network.degrees().items():
        full = fast if kind in ("weights", "biases") else slow
        for name, parameter in members.items():
            moves = kind in options.train and name in chosen
            parameter.requires_grad_(moves)
            if moves:
                groups.setdefault(full, []).append(parameter)
    if not groups:
        raise RecipeError(
            f"step 'qft': {network.model.name} has nothing of {', '.join(options.train)} to train"
            f"{' in these layers' if options.layers else ''}.",
            hint="Name more in `train`; cross-layer factors belong to no single layer.",
        )
    return [{"params": members, "lr": full} for full, members in groups.items()]


def _tensors(batch: samples.Inputs, device: torch.device) -> Weights:
    return {name: torch.from_numpy(np.ascontiguousarray(x)).to(device) for name, x in batch.items()}


def _judgement(loss: float, truth: NDArray[Any], found: NDArray[Any]) -> Judgement:
    rows = truth.reshape(len(truth), -1), found.reshape(len(found), -1)
    scores = truth.ndim == 2 and truth.shape[1] > 1
    same = float(np.mean(rows[0].argmax(axis=1) == rows[1].argmax(axis=1)) * 100.0)
    return Judgement(loss, float(snr_db(*rows).mean()), same if scores else None)


def _chosen(network: QuantizedNetwork, globs: Sequence[str]) -> set[str]:
    """Return the layers that move, and the values they write; everything without globs.

    Raises:
        RecipeError: a glob matches no layer.
    """
    if not globs:
        return {name for members in network.degrees().values() for name in members}
    found = matched(globs, network.layers, "qft")
    return found | {str(network.layers[name].layer.output.name) for name in found}
