"""`fewbits info` shows the Dataflow Compiler's names of layers beside those of ONNX."""

import json

import fewbits
import onnx_ir as ir
import pytest
from fewbits.cli.app import app
from fewbits.testing import toys
from typer.testing import CliRunner


@pytest.fixture
def network(tmp_path):
    ir.save(toys.residual().network, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def info(*arguments):
    words = ["info", *map(str, arguments)]
    return CliRunner().invoke(app, words, prog_name="fewbits")


def test_both_names_of_each_layer_are_shown_for_a_device(network):
    result = info(network, "--hw-arch", "hailo15h")
    assert result.exit_code == 0, result.output
    assert "on hailo15h" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["conv_0", "Conv", "conv1"] in rows
    held = json.loads(info(network, "--hw-arch", "hailo15h", "--json").stdout)
    assert held["target"] == "hailo15h"
    assert held["layer_names"]["conv_0"] == "conv1"


def test_an_archive_s_own_target_names_them(network, tmp_path):
    model = fewbits.parse(network)
    made = fewbits.optimize(
        model, recipe="quantize", calibration=toys.calibration(model, 4), target="hailo8"
    )
    fewbits.save(made, tmp_path / "net.fewbits")
    shown = info(tmp_path / "net.fewbits").stdout
    assert ["conv_0", "Conv", "conv1", "a8_w8"] in [line.split() for line in shown.splitlines()]
    assert json.loads(info(tmp_path / "net.fewbits", "--json").stdout)["target"] == "hailo8"


def test_targets_without_names_of_their_own_say_so_where_they_are_asked(network):
    assert "Target cpu has no names of its own" in info(network, "--hw-arch", "cpu").stdout
    plain = info(network)
    assert "conv1" not in plain.stdout
    assert json.loads(info(network, "--json").stdout)["layer_names"] == {}


def test_an_unknown_target_is_an_error(network):
    result = info(network, "--hw-arch", "hailo9")
    assert result.exit_code == 1
    assert "hailo9" in result.stderr


def test_a_target_that_is_gone_is_a_warning_where_nobody_asked(network, tmp_path):
    model = fewbits.parse(network)
    made = fewbits.optimize(
        model, recipe="quantize", calibration=toys.calibration(model, 4), target="hailo8"
    )
    fewbits.save(made, tmp_path / "net.fewbits")
    result = info(tmp_path / "net.fewbits", "--no-plugin", "hailo")
    assert result.exit_code == 0, result.output
    assert "names of layers are not shown" in result.stderr


def test_long_options_are_cut_in_the_table_and_whole_in_json(network, tmp_path):
    model = fewbits.parse(network)
    lines = ",".join(f"performance_param_{i}()" for i in range(40))
    made = fewbits.optimize(
        model,
        recipe=[f"hailo_script:lines=[{lines}]", "quantize"],
        calibration=toys.calibration(model, 4),
        target="hailo8",
    )
    fewbits.save(made, tmp_path / "net.fewbits")
    assert "…" in info(tmp_path / "net.fewbits").stdout
    held = json.loads(info(tmp_path / "net.fewbits", "--json").stdout)
    assert len(held["history"][1]["options"]["lines"]) == 40
