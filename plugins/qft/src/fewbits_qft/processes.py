"""Training in several processes, on one machine or many, started by `torchrun`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fewbits_qft.samples import Inputs


@dataclass(frozen=True)
class Processes:
    """The processes that train one network together, each on its share of every batch.

    Args:
        rank: this process's number.
        count: how many there are; 1 if it is alone.
    """

    rank: int = 0
    count: int = 1

    def share(self, batch: Inputs) -> Inputs:
        """Return this process's samples of a batch, every `count`-th; at least one."""
        if self.count == 1:
            return batch
        rows = slice(self.rank % len(next(iter(batch.values()))), None, self.count)
        return {name: x[rows] for name, x in batch.items()}

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return the module to call in training, which averages gradients over the processes."""
        if self.count == 1:
            return network
        return DistributedDataParallel(network, find_unused_parameters=True)

    def mean(self, value: float) -> float:
        """Return the mean of a number over the processes."""
        if self.count == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64)
        distributed.all_reduce(total)
        return float(total) / self.count

    def agree(self, tensors: dict[str, Tensor]) -> None:
        """Give every process the first one's tensors, in place."""
        if self.count > 1:
            for name in sorted(tensors):
                distributed.broadcast(tensors[name], 0)


@contextmanager
def together(device: torch.device) -> Iterator[Processes]:
    """Join the processes that `torchrun` started; alone without it.

    A group that the caller has opened already is used, and left open.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    opened = not distributed.is_initialized()
    if opened:
        cuda = device.type == "cuda"
        distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    finally:
        if opened:
            distributed.destroy_process_group()
