"""What a network costs altogether: parameters, multiply-accumulates and bytes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fewbits.cost import elements, macs
from fewbits.graph import is_layer
from fewbits.model import Encoding, Model


@dataclass(frozen=True)
class Cost:
    """Totals over a network, for one sample.

    Args:
        layers: weighted ops.
        parameters: numbers in the initializers.
        macs: multiply-accumulates; None when a shape is not known.
        bytes_float: size of the parameters in float32.
        bytes_quantized: size at the bits of their encodings, those without one in float32.
    """

    layers: int
    parameters: int
    macs: int | None
    bytes_float: int
    bytes_quantized: int


def cost(model: Model) -> Cost:
    """Count what `model` costs for one sample."""
    work = [macs(node) for node in model.graph if is_layer(node)]
    sizes = {name: elements(value) for name, value in model.graph.initializers.items()}
    return Cost(
        layers=len(work),
        parameters=sum(sizes.values()),
        macs=sum(work) if all(work) else None,
        bytes_float=4 * sum(sizes.values()),
        bytes_quantized=quantized_bytes(sizes, model.encodings),
    )


def quantized_bytes(sizes: Mapping[str, int], encodings: Mapping[str, Encoding]) -> int:
    """Return the bytes of tensors at the bits of their encodings; 32 bits for those without.

    Args:
        sizes: tensor name → number of elements.
        encodings: tensor name → encoding.

    >>> quantized_bytes({"a": 3, "b": 2}, {})
    20
    """
    bits = (
        count * (encodings[name].bits if name in encodings else 32) for name, count in sizes.items()
    )
    return math.ceil(sum(bits) / 8)
