"""The page about model scripts says what the code says."""

import re
from pathlib import Path

import pytest
from fewbits.testing.net import Net
from fewbits_hailo.script.page import main, replaced
from fewbits_hailo.script.reader import read_text
from fewbits_hailo.script.table import COMMANDS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "hailo-scripts.md"


def lite():
    """A network with the names that the page's example uses."""
    net = Net("efficientnet_lite0")
    x = net.op("Relu", net.conv(net.input("image", 3, 8, 8), 3, 4))
    pooled = net.op("Flatten", net.op("GlobalAveragePool", x))
    net.output(net.gemm(pooled, 4, 5), 5)
    return net.build()


def test_the_page_holds_the_present_table():
    text = PAGE.read_text(encoding="utf-8")
    assert replaced(text) == text, "run: python -m fewbits_hailo.script.page docs/hailo-scripts.md"


def test_every_command_stands_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    for row in COMMANDS:
        assert f"`{row.name}({row.feature})`" in text or f"`{row.name}`" in text, row.title


def test_the_example_of_the_page_runs_as_it_is_shown():
    text = PAGE.read_text(encoding="utf-8")
    (example,) = re.findall(r"```\n(norm_layer1 = .*?)```", text, re.DOTALL)
    script = read_text(example, lite())
    assert script.warnings == ()
    for line in script.lines:
        shown = line.text.removeprefix("kept for the compiler: ").replace("gemm_5", "/_fc/Gemm")
        assert shown.replace("gemm_4", "/_fc/Gemm") in text


def test_the_page_is_written_anew(tmp_path, capsys):
    copy = tmp_path / "page.md"
    text = PAGE.read_text(encoding="utf-8")
    copy.write_text(text.replace("| `defuse` |", "| `fuse` |"), encoding="utf-8")
    main([str(copy)])
    assert copy.read_text(encoding="utf-8") == text
    assert "wrote" in capsys.readouterr().out
    with pytest.raises(ValueError, match="substring"):
        replaced("no markers")
