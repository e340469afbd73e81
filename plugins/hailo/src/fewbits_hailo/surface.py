"""What is taken for granted of Hailo's closed packages where no public document says it: ONE table.

Whoever learns better mends the row here and the code that the row names; docs/hailo-compile.md
shows the table, and a test holds the two equal.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Assumption:
    """One thing that is second-hand or inferred.

    Args:
        what: what is assumed.
        source: where it comes from.
        where: the module that builds on it.
        otherwise: what happens where it is not so.
    """

    what: str
    source: str
    where: str
    otherwise: str


ASSUMPTIONS = (
    Assumption(
        "The parser reads ONNX opsets 8 and 11 to 17.",
        "public programs that compile for Hailo write 11 to 17",
        "opset",
        "the parser refuses the file",
    ),
    Assumption(
        "Layers are numbered by kind in the order of the ONNX nodes: conv1, dw1, ew_add1.",
        "scripts of the public model zoo; the order is inferred",
        "layernames",
        "`compile.py` takes the names that the compiler gives; a script's own lines that name a "
        "layer otherwise stop it",
    ),
    Assumption(
        "`get_hn_dict()['layers']` maps names to `type`, `original_names` and `input_shapes`.",
        "public programs that use the package",
        "build",
        "`compile.py` stops with a KeyError before anything is optimized",
    ),
    Assumption(
        "An explicit `policy=disabled` holds against every level, and level -100 runs nothing.",
        "public mirrors of the guide",
        "handed_script",
        "what fewbits did is done again on top",
    ),
    Assumption(
        "`force_range_out` sets a layer's output range; the input layers take it too.",
        "a public experiment that measured it on a convolution; input layers are inferred",
        "handed_script",
        "the compiler takes the range from the samples",
    ),
    Assumption(
        "Weights are rounded to nearest on a symmetric grid whose range is the largest magnitude.",
        "inferred; neither rounding nor granularity of weights is public",
        "weights",
        "weights that stand on a grid are rounded once more",
    ),
    Assumption(
        "The parser takes `Min` of a layer's output and one constant per channel, which "
        "equalization makes of a ReLU6.",
        "inferred",
        "floatnet",
        "the parser refuses the node; optimize again without equalization",
    ),
    Assumption(
        "Samples of rank 3 are `(N, 1, A, B)` to the compiler, those of rank 2 `(N, F)`.",
        "a public program that compiles a transformer; rank 2 is inferred",
        "calibset",
        "`compile.py` names the shapes and stops",
    ),
    Assumption(
        "HailoRT quantizes and dequantizes streams of type FLOAT32, channels last.",
        "the public sources of pyhailort",
        "hardware",
        "the figures of the hardware are off from the emulator's",
    ),
)


def table() -> str:
    """Return the table in markdown."""
    head = ["| what is assumed | source | where | if it is not so |", "|---|---|---|---|"]
    rows = [f"| {a.what} | {a.source} | `{a.where}` | {a.otherwise} |" for a in ASSUMPTIONS]
    return "\n".join([*head, *rows])
