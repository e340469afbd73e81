"""What this plugin offers; imported by every `fewbits list`, so it imports nothing heavy."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl

STEPS = (
    ("normalization", "(x − mean) / std moves into the network", "normalization:Normalization"),
    (
        "input_conversion",
        "Pictures come in as NV12, YUY2, YUV, RGBX or BGR",
        "conversion:InputConversion",
    ),
    ("resize", "Pictures come in at another size", "resizing:InputResize"),
    ("input_layout", "Channels of an input come first or last", "layout:InputLayout"),
    (
        "output_activation",
        "Another activation at outputs, or none",
        "outputs:OutputActivation",
    ),
    ("logits", "Softmax or argmax at outputs", "outputs:Logits"),
)


@hookimpl
def algorithms() -> list[Component]:
    """Offer the steps that edit a network's ends."""
    return [
        Component("algorithm", name, summary, f"fewbits_editing.{target}")
        for name, summary, target in STEPS
    ]
