"""Makes the HEF of the network in this folder with Hailo's Dataflow Compiler.

    python compile.py [--har]

It needs Python with `hailo_sdk_client` and numpy, and nothing of fewbits. `--har` keeps the
compiler's own archive beside the HEF.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np


def build(folder: Path, har: Path | None = None) -> bytes:
    """Translate, optimize and compile what `plan.json` names; return the HEF's bytes."""
    from hailo_sdk_client import ClientRunner  # type: ignore[import-not-found]

    plan = json.loads((folder / "plan.json").read_text())
    runner = ClientRunner(hw_arch=plan["hw_arch"])
    runner.translate_onnx_model(str(folder / plan["onnx"]), plan["name"], **plan["translate"])
    layers = runner.get_hn_dict()["layers"]
    script = (folder / plan["script"]).read_text()
    runner.load_model_script(as_named(script, plan["mark"], plan["layers"], layers))
    data = {name: np.load(folder / file) for name, file in plan["calibration"].items()}
    runner.optimize(by_layer(data, layers))
    if har is not None:
        runner.save_har(str(har))
    return bytes(runner.compile())


def as_named(script: str, mark: str, nodes: dict[str, str], layers: dict[str, Any]) -> str:
    """Return the script with the names that the compiler gave the layers of these nodes.

    A line for a layer that the compiler does not have is left out, and said. The user's own lines,
    behind the mark, stay; where they name a layer otherwise, it is an error.
    """
    names = {name.split("/")[-1]: layer for name, layer in layers.items()}
    given: dict[str, str] = {}
    for name, layer in names.items():
        if layer["type"] != "output_layer":  # it has the name of the node before it
            given |= {node: name for node in layer["original_names"] if node not in given}
    new = {old: given[node] for old, node in nodes.items() if given.get(node, old) != old}
    own, middle, users = script.partition(mark)
    wrong = [f"{old} is {new[old]}" for old in new if re.search(rf"\b{old}\b", users)]
    if wrong:
        raise ValueError(f"The lines behind '{mark}' name layers otherwise: {', '.join(wrong)}.")
    held: dict[str, str] = {}
    for line in own.splitlines():
        about = re.match(r"quantization_param\((\w+), \w+=", line)
        if about:
            line = line.replace(about[1], new.get(about[1], about[1]), 1)
            about = re.match(r"quantization_param\((\w+), \w+=", line)
        if about and about[1] not in names:
            print(f"Left out, the compiler has no such layer: {line}", file=sys.stderr)
        else:
            held[about[0] if about else line] = line
    return "".join(f"{line}\n" for line in held.values()) + middle + users


def by_layer(data: dict[str, Any], layers: dict[str, Any]) -> Any:
    """Return the samples by the compiler's input layers, in its shapes; one alone as it is."""
    held = {}
    for name, layer in layers.items():
        for source in data.keys() & set(layer["original_names"]):
            if layer["type"] == "input_layer":
                array, shape = data[source], layer["input_shapes"][0][1:]
                if [n for n in shape if n > 1] != [n for n in array.shape[1:] if n > 1]:
                    raise ValueError(
                        f"{name} takes {shape}, and the samples are {array.shape[1:]}."
                    )
                held[name] = array.reshape(len(array), *shape)
    return held if len(held) > 1 else next(iter(held.values()))


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    hef = here / json.loads((here / "plan.json").read_text())["hef"]
    hef.write_bytes(build(here, hef.with_suffix(".har") if "--har" in sys.argv[1:] else None))
    print(f"Wrote {hef}")
