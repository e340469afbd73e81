"""A function over many items in threads, results in order, a bounded number in flight."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else (os.cpu_count() or 1)


def read_ahead(
    function: Callable[[A], B], items: Iterable[A], *, workers: int, window: int
) -> Generator[B, None, None]:
    """Yield `function(item)` for each item, in order, computed in threads.

    At most `window` results exist that were not yet yielded. When the caller stops early, is
    interrupted, or an item raises, what was not begun is dropped and the threads end.

    Args:
        function: called in a worker thread; should release the GIL for most of its time.
        items: what to call it with.
        workers: number of threads.
        window: how many items may be begun or finished and not yet yielded.
    """
    rest = iter(items)
    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="fewbits-read") as pool:
        try:
            waiting.extend(pool.submit(function, item) for item in islice(rest, window))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()
