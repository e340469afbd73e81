"""From the command line: chained, written down, run again; and a real network."""

import json
from pathlib import Path

import fewbits
import numpy as np
import onnx_ir as ir
import pytest
from fewbits.cli.app import app
from fewbits.runtime import Session
from fewbits.testing import toys
from fewbits_tse.blocks import find_blocks
from fewbits_tse.rewire import replace_gate
from typer.testing import CliRunner

SHARED = Path(__file__).parents[4] / "shared/models"
PPOCR = SHARED / "ch_ppocr_mobile_v2.0_cls_infer.onnx"


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments], prog_name="fewbits")


def test_a_chain_with_tse_is_written_down_and_can_be_run_again(tmp_path):
    model = toys.se_block()
    ir.save(model.network, tmp_path / "net.onnx")
    np.save(tmp_path / "calib.npy", toys.calibration(model).inputs["image"])
    chain = ["-p", "tse:count=6,tile_height=5,threshold=-140", "-p", "quantize"]
    data = ["--calib-path", tmp_path / "calib.npy", "-o", tmp_path / "net.fewbits"]
    done = run("optimize", tmp_path / "net.onnx", *data, *chain)
    assert done.exit_code == 0, done.output
    assert "Tiled 1 of 1 squeeze-and-excite blocks" in done.stdout
    again = run("replay", tmp_path / "net.fewbits", "--json")
    assert again.exit_code == 0, again.output
    steps = {step.use: step for step in fewbits.load(tmp_path / "net.fewbits").history}
    assert steps["tse"].options["count"] == 6
    assert steps["tse"].report.layers[0].action == "tiled"
    assert "tse" in json.dumps(json.loads(again.stdout))


@pytest.fixture(scope="module")
def ppocr():
    if not PPOCR.exists():
        pytest.skip("the shared models are not here")
    return fewbits.parse(PPOCR, input_shape={"x": (3, 48, 192)})


def test_all_nine_blocks_of_a_real_network_are_found(ppocr):
    blocks = list(find_blocks(ppocr.graph))
    assert [block.fault for block in blocks] == [""] * 9
    assert [block.sizes[1] for block in blocks] == [12, 3, 3, 3, 3, 3, 2, 2, 2]


def test_a_tile_of_the_whole_map_changes_nothing_in_a_real_network(ppocr):
    network = ppocr.network.clone()
    for block in list(find_blocks(network.graph)):
        replace_gate(network.graph, block, block.sizes[1])
    assert [node.op_type for node in network.graph].count("GlobalAveragePool") == 1  # the head's
    data = toys.calibration(ppocr, 4).inputs
    before, after = (Session(n, threads=1).run(data) for n in (ppocr.network, network))
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=0, atol=1e-6)
