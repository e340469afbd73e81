"""The table of what is assumed stands in the docs, and names modules that are there."""

import importlib.util
from pathlib import Path

from fewbits_hailo.surface import ASSUMPTIONS, table

PAGE = Path(__file__).resolve().parents[3] / "docs" / "hailo-compile.md"


def test_the_docs_show_the_table():
    assert table() in PAGE.read_text()


def test_every_row_names_a_module():
    for assumption in ASSUMPTIONS:
        assert importlib.util.find_spec(f"fewbits_hailo.{assumption.where}") is not None
