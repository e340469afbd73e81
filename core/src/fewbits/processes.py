"""Runs that share their work among processes, as `torchrun` starts them."""

import os


def leads() -> bool:
    """Whether this process writes files and speaks for all: it is alone, or the first of them."""
    return os.environ.get("RANK", "0") == "0"
