"""The page for users of hailomz: what it names is there, and nothing of theirs is left out."""

import re
import shlex
from pathlib import Path

import fewbits
import pytest
from fewbits.cli.app import app
from typer.main import get_command

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "from-hailomz.md").read_text()
#: options of `hailomz`, as its public documentation groups them.
THEIRS = shlex.split("""
--yaml --ckpt --hw-arch --start-node-names --end-node-names
--model-script --performance --har --calib-path --resize --input-conversion --classes
--target --hef --batch-size --data-count --data-path --visualize --ap-per-class
""")
COMMANDS = ("parse", "optimize", "eval", "compile", "info", "tune", "analyze")
BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"--[a-z][a-z-]*")


def rows():
    """Return the cells of every row of every table."""
    lines = (line.strip() for line in PAGE.splitlines() if line.startswith("| "))
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def code(text):
    return re.findall(r"`([^`]+)`", text)


def commands():
    """Return every command line of ours on the page, split into words."""
    lines = [line.partition("#")[0] for block in BLOCK.findall(PAGE) for line in block.splitlines()]
    inline = code(BLOCK.sub("", PAGE))
    return [shlex.split(text) for text in [*lines, *inline] if text.startswith("fewbits ")]


def options_of(words):
    """Return the options of the command that the words name."""
    group = get_command(app)
    with group.make_context("fewbits", [words[1]]) as ctx:
        command = group.get_command(ctx, words[1])
        assert command is not None, f"there is no command {words[1]}"
        command = command.resolve()
        if hasattr(command, "commands"):
            command = command.commands[words[2]]
        return {name for param in command.params for name in param.opts}


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_takes_the_options_that_are_shown(words):
    shown = [word for word in words if word.startswith("-")]
    assert set(shown) <= options_of(words)


def test_every_option_in_our_column_exists():
    every = set().union(*(options_of(["fewbits", name]) for name in COMMANDS))
    ours = {name for row in rows() for cell in row[1:] for name in OPTION.findall(cell)}
    assert ours <= every
    assert "--har" in ours


def test_every_option_of_theirs_stands_in_their_column():
    theirs = {name for row in rows() for name in OPTION.findall(row[0])}
    assert sorted(set(THEIRS) - theirs) == []


def test_what_we_have_under_the_same_name_is_not_said_to_be_missing():
    have = set().union(*(options_of(["fewbits", name]) for name in COMMANDS))
    for row in rows():
        named = OPTION.findall(row[0]) if row[0].startswith("`--") else []
        for name in set(named) & have:
            assert name in " ".join(row[1:]), f"{name} is here, and the row does not say so"


def test_every_function_of_ours_exists():
    names = set(re.findall(r"fewbits\.([a-z]+)\(", PAGE))
    assert {"parse", "optimize", "evaluate", "compile", "save"} <= names
    assert [name for name in names if not hasattr(fewbits, name)] == []


def test_links_lead_to_pages():
    links = re.findall(r"\]\(([a-z-]+\.md)\)", PAGE)
    folder = Path(__file__).resolve().parents[2] / "docs"
    assert [link for link in links if not (folder / link).exists()] == []
