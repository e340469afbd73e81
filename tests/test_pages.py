"""The commands that the README and the docs show, run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    page
    for page in (ROOT / "README.md", *ROOT.glob("docs/*.md"))
    if "```console" in page.read_text()
]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_run_and_begin_as_shown(page):
    command = [sys.executable, str(ROOT / "docs" / "console.py"), "--check", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_readme_and_demo_show_commands():
    assert {"README.md", "demo.md"} <= {page.name for page in PAGES}
