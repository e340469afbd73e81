"""Where training runs, and on how many threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from fewbits.errors import UsageError


def device_of(name: str) -> torch.device:
    """Return the device of this name; `auto` takes a GPU if there is one.

    Raises:
        UsageError: there is no such device here.
    """
    if name == "auto" and not torch.cuda.is_available():
        return torch.device("cpu")
    if name == "auto":  # of processes on one machine each takes a GPU of its own
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"step 'qft': there is no device '{name}' here.",
            hint="Leave the option out, or write device=cpu.",
        ) from error
    return device


@contextmanager
def threads_limited(count: int | None) -> Iterator[None]:
    """Let torch use so many threads while the body runs; None leaves it to torch."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
