"""docs/cli.md says what the commands say of themselves."""

from pathlib import Path

import pytest
from fewbits.cli.app import COMMANDS
from fewbits.cli.reference import reference, replaced

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def test_the_page_holds_the_present_reference():
    text = PAGE.read_text(encoding="utf-8")
    assert replaced(text) == text, "run: python -m fewbits.cli.reference docs/cli.md"


def test_every_command_has_a_section():
    text = reference()
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        f"### `{name}`" for name in COMMANDS
    ]


def test_every_option_names_its_value():
    assert " None |" not in reference()


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="substring not found"):
        replaced("# A page\n")
