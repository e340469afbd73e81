"""`fewbits hailo check-script`, as users type it."""

import json

import onnx_ir as ir
import pytest
from fewbits.cli.app import app
from fewbits.testing import toys
from typer.testing import CliRunner

GOOD = """\
norm_layer1 = normalization([127, 127, 127], [128, 128, 128])
quantization_param({conv*}, precision_mode=a8_w4)
performance_param(fps=100)
"""
BAD = "foo(1)\nquantization_param(conv77, precision_mode=a8_w4, bias_mode=x)\n"


def run(*arguments):
    words = ["hailo", "check-script", *map(str, arguments)]
    return CliRunner().invoke(app, words, prog_name="fewbits")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a network and two scripts."""
    monkeypatch.chdir(tmp_path)
    ir.save(toys.residual().network, "net.onnx")
    (tmp_path / "good.alls").write_text(GOOD)
    (tmp_path / "bad.alls").write_text(BAD)
    return tmp_path


def rows(result):
    return [line.split() for line in result.stdout.splitlines()[2:]]


def test_each_line_has_a_row_that_says_what_it_does(folder):
    result = run("good.alls", "--model", "net.onnx")
    assert result.exit_code == 0, result.output
    numbers = [words[0] for words in rows(result)]
    assert numbers[:3] == ["1", "2", "3"]
    assert "step normalization:mean=[127.0, 127.0, 127.0]" in result.stdout
    assert "quantizer: layers={conv_0, conv_2 and" in result.stdout or "conv_0" in result.stdout
    assert "kept for the compiler" in result.stdout
    assert result.stdout.splitlines()[-1] == (
        "1 × network edit, 1 × recipe step, 1 × kept for the compiler"
    )


def test_a_line_that_cannot_be_done_is_exit_code_1_with_column_and_remedy(folder):
    result = run("bad.alls", "--model", "net.onnx")
    assert result.exit_code == 1
    assert "column 1: there is no command 'foo'" in result.stdout
    assert "column 20: there is no layer 'conv77'" in result.stdout
    assert "fewbits info FILE --hw-arch hailo8" in result.stdout


def test_without_a_network_layers_are_not_looked_up(folder):
    (folder / "layer.alls").write_text("quantization_param(conv77, precision_mode=a8_w4)")
    assert run("layer.alls").exit_code == 0
    assert run("layer.alls", "--model", "net.onnx").exit_code == 1


def test_leniency_says_what_becomes_of_each_line(folder):
    result = run("bad.alls", "--model", "net.onnx", "--lenient")
    assert result.exit_code == 0, result.output
    assert "--lenient: kept for the compiler: foo(1)" in result.stdout


def test_modes_are_those_of_the_device(folder):
    (folder / "wide.alls").write_text("quantization_param(conv1, precision_mode=a16_w4)")
    cpu = run("wide.alls", "--model", "net.onnx", "--hw-arch", "cpu")
    assert cpu.exit_code == 0, cpu.output
    hailo = run("wide.alls", "--model", "net.onnx", "--hw-arch", "hailo8")
    assert hailo.exit_code == 1
    assert "target hailo8 does not run a16_w4" in hailo.stdout


def test_json_holds_all_of_it(folder):
    good = json.loads(run("good.alls", "--model", "net.onnx", "--json").stdout)
    assert good["done"] is True
    assert [line["here"] for line in good["lines"]] == [
        "network edit",
        "recipe step",
        "kept for the compiler",
    ]
    assert good["lines"][2]["for_compiler"] == "performance_param(fps=100)"
    result = run("bad.alls", "--json")
    assert result.exit_code == 1
    bad = json.loads(result.stdout)
    assert bad["done"] is False
    assert bad["lines"][0]["faults"] == [
        {
            "text": "there is no command 'foo'",
            "hint": "See docs/hailo-scripts.md.",
            "line": 1,
            "column": 1,
        }
    ]


def test_what_is_no_script_is_an_error_with_its_place(folder):
    (folder / "none.alls").write_text("a(\n")
    result = run("none.alls")
    assert result.exit_code == 1
    assert "none.alls, line 2, column 1: expected a value" in result.stderr
    assert run("absent.alls").exit_code == 1


def test_quiet_says_nothing(folder):
    result = run("good.alls", "--quiet")
    assert (result.exit_code, result.output) == (0, "")
