"""`--no-plugin` before a command and behind it, the core's or a plugin's."""

import pytest
from fewbits.cli.app import app
from fewbits.cli.common import Session
from typer.testing import CliRunner

PLUGIN = """
from fewbits.component import Component
from fewbits.hookspecs import hookimpl

@hookimpl
def commands():
    return [Component("command", "roll", "Calls the roll", "roll_app:app")]
"""
APP = """
import typer
from fewbits.cli.common import NoPlugin, command, session_of

app = command()

@app.command("roll")
def roll(ctx: typer.Context, no_plugin: NoPlugin = None) -> None:
    for record in session_of(ctx).registry.records:
        typer.echo(f"{record.name} {record.status}")
"""


@pytest.fixture
def roll(site):
    site.write("roll.py", PLUGIN)
    site.write("roll_app.py", APP)
    site.install("fewbits-roll", entries=["roll = roll"])
    site.plugin("fewbits-good")
    site.plugin("fewbits-bad", before="import nowhere")


@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_plugin_is_left_out_of_a_plugin_s_command(roll, place):
    out = ["--no-plugin", "good"]
    words = [*out, "roll"] if place == "before" else ["roll", *out]
    result = CliRunner().invoke(app, words, prog_name="fewbits")
    assert result.exit_code == 0, result.output
    assert {"good disabled", "roll active", "bad broken"} <= set(result.stdout.splitlines())
    assert result.stderr.count("is broken") == 1


def test_plugins_are_discovered_again_only_where_another_is_left_out(roll):
    session = Session()
    session.disable(["good"])
    first = session.registry
    session.disable(["good"])
    session.disable(None)
    assert session.registry is first
    session.disable(["roll"])
    assert {r.name for r in session.registry.records if r.status == "disabled"} == {"good", "roll"}
    session.close()
