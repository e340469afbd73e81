"""How fast the commands answer that need no network."""

import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.common import seconds

PROBE = "import time; t = time.perf_counter(); import fewbits; print(time.perf_counter() - t)"


def startup() -> dict[str, Any]:
    """Median of ten: `fewbits list` as a whole process, and `import fewbits` inside one."""
    listing = [str(Path(sys.executable).with_name("fewbits")), "list"]
    whole = [seconds(lambda: subprocess.run(listing, capture_output=True)) for _ in range(10)]
    imports = [
        float(subprocess.run([sys.executable, "-c", PROBE], capture_output=True).stdout)
        for _ in range(10)
    ]
    return {
        "fewbits list, seconds": round(statistics.median(whole), 3),
        "import fewbits, seconds": round(statistics.median(imports), 4),
    }
