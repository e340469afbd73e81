"""Large tensors reuse memory instead of asking the system for it anew each time."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEEP = (1 << 31) - 1
_MOST_MAPPED = 1 << 30
_DEFAULT = 128 << 10


@contextmanager
def blocks_kept() -> Iterator[None]:
    """Let glibc keep freed blocks of any size while the body runs; elsewhere do nothing.

    By default every tensor above 32 MB is mapped and unmapped, and its pages are zeroed by the
    kernel on first touch, which costs more than what is computed with it. Afterwards the memory
    goes back to the system.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _MOST_MAPPED)
    libc.mallopt(_TRIM_THRESHOLD, _KEEP)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _DEFAULT)
        libc.mallopt(_TRIM_THRESHOLD, _DEFAULT)
        libc.malloc_trim(0)
