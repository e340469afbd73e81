"""Lets the tests run from the sources; a plugin outside this repository is installed instead."""

import sys
from pathlib import Path

sys.path[:0] = [str(source) for source in sorted(Path(__file__).parent.glob("*/src"))]
