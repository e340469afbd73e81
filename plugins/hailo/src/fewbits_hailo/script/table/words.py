"""Names and kinds of options that several rows share."""

from typing import Any

from fewbits_hailo.script.kinds import ANY, POLICY, Kind
from fewbits_hailo.script.rows import Option, Use

PRE = "pre_quantization_optimization"
POST = "post_quantization_optimization"
CONFIG = "model_optimization_config"

POLICED = Option("policy", POLICY, here="enabled adds the step, disabled takes it out")
MEMORY = "samples per run change no result; here it is --batch-size"


def refused(name: str, kind: Kind = ANY, remedy: str = "", **more: Any) -> Option:
    """Return an option that is not done here, with the remedy."""
    return Option(name, kind, Use.REFUSED, remedy, **more)


def nothing(name: str, kind: Kind = ANY, here: str = "") -> Option:
    """Return an option that changes nothing here."""
    return Option(name, kind, Use.NOTHING, here)


def for_compiler(name: str, kind: Kind = ANY, here: str = "") -> Option:
    """Return an option that is kept for the compiler; what it does there is second-hand."""
    return Option(name, kind, Use.COMPILER, here, second_hand=True)
