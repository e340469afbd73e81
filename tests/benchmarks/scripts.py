"""How fast model scripts are read.

A script without globs is by accident valid Python, so that Python's own parser, which is written
in C, can stand beside ours.
"""

import ast
from collections.abc import Callable
from functools import partial
from typing import Any

from fewbits_hailo.script.parsing import parse

from tests.benchmarks.common import seconds

RUNS = 11
_PLACEMENT = (
    "compilation_param(net/conv{0}, balance_output_multisplit=enabled, buffer_in_l4=False,"
    " defuse_num_layers=1, defuse_spatial_w=False, enable_ew_add_optimization=allowed,"
    " layer_output_buffers_format=consecutive, mixed_mem=allowed, no_contexts=allowed,"
    " number_of_apus=1, number_of_input_aligners=1, number_of_subclusters=2,"
    " parallel_activation=disabled, resources_allocation_strategy=manual_scs_selection)"
)


def typical() -> str:
    """Return a script as most networks of the public zoo have it, with some modes and clippings."""
    modes = [f"quantization_param(net/conv{i}, precision_mode=a8_w4)" for i in range(1, 25)]
    clips = [
        f"pre_quantization_optimization(activation_clipping, layers=[conv{i}], mode=percentile,"
        " clipping_values=[0.01, 99.9])"
        for i in range(1, 25)
    ]
    return "\n".join(
        [
            "normalization1 = normalization([0.0, 0.0, 0.0], [255.0, 255.0, 255.0])",
            "model_optimization_config(calibration, batch_size=4, calibset_size=64)",
            "post_quantization_optimization(finetune, policy=enabled, learning_rate=0.0001)",
            *modes,
            *clips,
        ]
    )


def large() -> str:
    """Return a script that places every layer, longer than any of the public zoo (90 kB)."""
    placed = [_PLACEMENT.format(i) for i in range(1, 250)]
    split = [f"c{i}_d0, c{i}_d1 = defuse(n/conv{i}, 2)" for i in range(1, 100)]
    return "\n".join([typical(), *placed, *split])


def parsing() -> dict[str, Any]:
    """Milliseconds to parse a typical and a large script, fastest of 11; times `ast.parse`."""
    results: dict[str, Any] = {}
    for name, text in (("typical", typical()), ("large", large())):
        ours, python = _fastest(partial(parse, text)), _fastest(partial(ast.parse, text))
        results[name] = {
            "kB": round(len(text) / 1000, 1),
            "milliseconds": round(1000 * ours, 2),
            "times ast.parse": round(ours / python, 1),
        }
    return results


def _fastest(work: Callable[[], Any]) -> float:
    return min(seconds(work) for _ in range(RUNS))
