"""What the contracts compare: a model's contents, its layers, its interface, its outputs."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from fewbits.data import Dataset
from fewbits.interfaces import Context, Target
from fewbits.model import Encoding, Model
from fewbits.runtime import Session


def context(
    target: Target, calibration: Dataset | None = None, *, seed: int = 0, threads: int = 1
) -> Context:
    """Return a context as the runner makes it, with a fresh generator."""
    return Context(target, calibration, seed=seed, rng=np.random.default_rng(seed), threads=threads)


def weights(model: Model) -> dict[str, NDArray[Any]]:
    """Return initializer name → array; those without a value are left out."""
    return {
        name: value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }


def contents(model: Model) -> dict[str, str]:
    """Return part → digest of everything that makes up the model but its stage and history.

    Two models are the same network in the same representation exactly if these are equal; where
    they are not, the keys name the parts that differ.
    """
    graph = ir.to_proto(model.network)
    del graph.graph.initializer[:]
    parts = {"graph": _sha(graph.SerializeToString(deterministic=True))}
    parts |= {f"weight {name}": _array(array) for name, array in weights(model).items()}
    parts |= {f"mask {name}": _array(mask) for name, mask in model.masks.items()}
    parts |= {f"encoding {name}": _encoding(e) for name, e in model.encodings.items()}
    parts |= {f"precision {name}": str(p) for name, p in model.precisions.items()}
    return parts


def layer_state(model: Model, layer: str) -> dict[str, str] | None:
    """Return part → digest of one node with the weights, masks and encodings around it.

    None when the graph has no node of that name.
    """
    node = next((n for n in model.graph if n.name == layer), None)
    if node is None:
        return None
    around = {str(v.name) for v in (*node.inputs, *node.outputs) if v is not None}
    around |= {str(use.name) for v in node.outputs for n, _ in v.uses() for use in n.outputs}
    kinds = ("weight", "mask", "encoding")
    wanted = {f"{kind} {name}" for kind in kinds for name in around} | {f"precision {layer}"}
    found = {part: digest for part, digest in contents(model).items() if part in wanted}
    return {"node": _sha(ir.to_proto(node).SerializeToString(deterministic=True)), **found}


def writeable(model: Model) -> list[str]:
    """Return the names of the weights that somebody could change in place."""
    return [name for name, array in weights(model).items() if array.flags.writeable]


def interface(model: Model) -> dict[str, tuple[str, str, str]]:
    """Return input and output → role, shape and type, in the graph's order."""
    values = [(str(v.name), "input", v) for v in model.graph.inputs]
    values += [(str(v.name), "output", v) for v in model.graph.outputs]
    return {name: (role, str(v.shape), str(v.dtype)) for name, role, v in values}


def assert_valid(model: Model) -> None:
    """Assert that the graph passes ONNX's checker, loads, and names every node once."""
    proto = ir.to_proto(model.network)
    onnx.checker.check_model(proto, full_check=True)
    Session(proto.SerializeToString(), threads=1)
    names = [node.name for node in model.graph]
    assert all(names), "every node has a name"
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    assert not twice, "no two nodes share a name"


def float_outputs(model: Model, data: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return what the graph computes in full precision for a batch of inputs."""
    return Session(model.network, threads=1).run(data)


def relative_difference(reference: NDArray[Any], other: NDArray[Any]) -> float:
    """Return `max|reference − other| / max|reference|`; 0 when both are 0 everywhere."""
    wide = reference.astype(np.float64)
    difference = np.abs(wide - other).max(initial=0.0)
    return float(difference / max(np.abs(wide).max(initial=0.0), np.finfo(np.float64).tiny))


def snr_db(reference: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the signal-to-noise ratio `10 log10(Σ reference² / Σ (reference − other)²)`.

    >>> round(snr_db(np.array([1.0, 2.0]), np.array([1.0, 2.1])), 1)
    27.0
    """
    wide = reference.astype(np.float64)
    noise = np.sum((wide - other) ** 2)
    return float(10 * np.log10(np.sum(wide**2) / max(noise, np.finfo(np.float64).tiny)))


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _array(array: NDArray[Any]) -> str:
    return f"{array.dtype}{array.shape} {_sha(np.ascontiguousarray(array).tobytes())}"


def _encoding(encoding: Encoding) -> str:
    head = (encoding.bits, encoding.signed, encoding.axis, encoding.narrow)
    scale, zero_point = np.asarray(encoding.scale), np.asarray(encoding.zero_point)
    return f"{head} {_array(scale)} {_array(zero_point)}"
