"""The command line without a network: help, list, describe, doctor, plugins, exit codes."""

import json
import os
import subprocess
import sys

import pytest
from fewbits import __version__
from fewbits.cli.app import COMMANDS, app
from typer.main import get_command
from typer.testing import CliRunner

COMMAND_PLUGIN = """
from fewbits.component import Component
from fewbits.hookspecs import hookimpl

@hookimpl
def commands():
    return [Component("command", "{command}", "Says hello to the user", "{module}:app")]
"""

HELLO = """
import typer
from fewbits.errors import DataError

app = typer.Typer()

@app.command()
def hello(name: str = "you", fail: bool = False) -> None:
    if fail:
        raise DataError("Nobody is there.", hint="Knock louder.")
    typer.echo(f"hello {name}")
"""


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments], prog_name="fewbits")


@pytest.fixture
def hello(site):
    site.write("greet.py", COMMAND_PLUGIN.format(command="hello", module="greet_app"))
    site.write("greet_app.py", HELLO)
    site.install("fewbits-greet", entries=["greet = greet"])
    return site


def test_version_is_the_library_s():
    assert run("--version").stdout == f"fewbits {__version__}\n"


def test_help_lists_every_command_with_its_summary():
    result = run("--help")
    assert result.exit_code == 0
    for name, (_, summary) in COMMANDS.items():
        assert f"  {name} " in result.stdout
        assert summary.partition(".")[0] in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_summary_is_the_first_line_of_the_command_s_help(name):
    group = get_command(app)
    with group.make_context("fewbits", [name]) as ctx:
        command = group.get_command(ctx, name).resolve()
    assert command.help.splitlines()[0] == COMMANDS[name][1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_has_help(name):
    group = get_command(app)
    with group.make_context("fewbits", [name]) as ctx:
        command = group.get_command(ctx, name).resolve()
    assert [p.name for p in command.params if not p.help] == []


def test_without_arguments_the_help_is_shown_and_it_counts_as_wrong_usage():
    result = run()
    assert result.exit_code == 2
    assert "Usage: fewbits" in result.output


def test_unknown_command_names_the_nearest():
    result = run("optimise")
    assert result.exit_code == 2
    assert "Did you mean 'optimize'?" in result.stderr


def test_unknown_option_is_wrong_usage():
    result = run("list", "--jsno")
    assert result.exit_code == 2
    assert "--json" in result.stderr


@pytest.mark.parametrize(
    "arguments", [["list"], ["list", "--json"], ["--help"], ["list", "--help"]]
)
def test_light_commands_import_nothing_heavy(arguments):
    code = (
        "import sys\n"
        "from fewbits.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'onnx', 'onnx_ir', 'onnxruntime', 'pydantic', 'PIL', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_list_has_the_builtin_components():
    rows = json.loads(run("list", "--json").stdout)
    assert {
        "name": "onnx",
        "kind": "frontend",
        "plugin": "builtin",
        "distribution": "fewbits-core",
        "version": __version__,
        "status": "active",
    }.items() <= next(row for row in rows if row["name"] == "onnx").items()
    assert [set(row) for row in rows] == [
        {"name", "kind", "summary", "plugin", "distribution", "version", "status"}
    ] * len(rows)


@pytest.mark.parametrize("kind", ["evaluator", "evaluators", "Evaluators"])
def test_list_takes_a_kind_singular_or_plural(kind):
    rows = json.loads(run("list", kind, "--json").stdout)
    assert {row["kind"] for row in rows} == {"evaluator"}
    assert {"fidelity", "classification"} <= {row["name"] for row in rows}


def test_list_of_an_unknown_kind_names_the_nearest():
    result = run("list", "algoritms")
    assert result.exit_code == 2
    assert "'algoritms' is no kind" in result.stderr
    assert "Did you mean 'algorithm'?" in result.stderr


def test_list_shows_an_installed_plugin_s_algorithm_and_its_origin(site):
    site.plugin("fewbits-good")
    result = run("list", "algorithms")
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if "good" in line)
    assert "Changes nothing" in line
    assert "fewbits-good 1.0" in line
    assert "active" in line


def test_list_of_plugins_has_a_row_each(site):
    site.plugin("fewbits-good")
    site.plugin("fewbits-bad", before="raise AssertionError('no')")
    rows = {row["name"]: row for row in json.loads(run("list", "plugins", "--json").stdout)}
    assert rows["good"]["status"] == "active"
    assert rows["bad"]["status"] == "broken"
    assert "AssertionError: no" in rows["bad"]["summary"]


def test_a_bad_plugin_stands_in_the_list_and_is_named_on_stderr_once(site):
    site.plugin("fewbits-bad", before="raise SystemExit(3)")
    result = run("list")
    assert result.exit_code == 0
    assert any("bad" in line and "broken" in line for line in result.stdout.splitlines())
    assert result.stderr.count("warning: plugin 'bad' (fewbits-bad 1.0) is broken") == 1
    assert "Traceback" not in result.output


def test_json_stays_json_beside_a_bad_plugin(site):
    site.plugin("fewbits-bad", before="import nowhere")
    result = run("list", "algorithms", "--json")
    assert all(row["kind"] == "algorithm" for row in json.loads(result.stdout))
    assert "nowhere" in result.stderr


@pytest.mark.parametrize("place", ["before", "after"])
def test_no_plugin_leaves_a_plugin_out(site, place):
    site.plugin("fewbits-good")
    leave_out = ["--no-plugin", "good"]
    order = [*leave_out, "list"] if place == "before" else ["list", *leave_out]
    rows = {row["name"]: row for row in json.loads(run(*order, "--json").stdout)}
    assert rows["good"]["kind"] == "plugin"
    assert rows["good"]["status"] == "disabled"


def test_fewbits_disable_leaves_plugins_out_without_a_warning(site, monkeypatch):
    site.plugin("fewbits-good")
    site.plugin("fewbits-bad", before="import nowhere")
    monkeypatch.setenv("FEWBITS_DISABLE", "good,bad")
    result = run("list", "--json")
    statuses = {row["name"]: row["status"] for row in json.loads(result.stdout)}
    assert (statuses["good"], statuses["bad"]) == ("disabled", "disabled")
    assert result.stderr == ""


def test_leaving_out_what_is_not_installed_is_said():
    result = run("list", "--no-plugin", "typo")
    assert result.exit_code == 0
    assert "no plugin 'typo' is installed" in result.stderr


def test_describe_shows_type_default_and_help_of_each_option(site):
    site.plugin("fewbits-good")
    described = json.loads(run("describe", "good", "--json").stdout)
    assert described["kind"] == "algorithm"
    assert described["distribution"] == "fewbits-good"
    assert described["options"] == [
        {
            "name": "strength",
            "type": "int",
            "bounds": "",
            "required": False,
            "default": 1,
            "help": "",
        }
    ]
    text = run("describe", "good").stdout
    assert "strength" in text
    assert "fewbits-good 1.0" in text


def test_describe_shows_bounds_and_choices(site):
    site.plugin("fewbits-good")
    site.write(
        "fewbits_good_parts.py",
        """
        from typing import Literal
        from pydantic import Field
        from fewbits.interfaces import Algorithm
        from fewbits.options import Options

        class PassOptions(Options):
            strength: float = Field(0.5, ge=0, lt=1, description="How much.")
            mode: Literal["fast", "best"] = Field(description="Which way.")

        class Pass(Algorithm):
            name = "good"
            Options = PassOptions
            def apply(self, model, context): ...
        """,
    )
    strength, mode = json.loads(run("describe", "good", "--json").stdout)["options"]
    assert (strength["type"], strength["bounds"], strength["help"]) == (
        "float",
        "≥ 0, < 1",
        "How much.",
    )
    assert (mode["type"], mode["required"]) == ("fast | best", True)


def test_describe_of_quantize_is_that_of_the_default_quantizer():
    described = json.loads(run("describe", "quantize", "--json").stdout)
    assert (described["kind"], described["name"]) == ("quantizer", "uniform")
    assert "precision" in {option["name"] for option in described["options"]}
    assert "its option 'quantizer' names" in run("describe", "quantize").stdout


def test_tables_in_a_pipe_have_no_control_codes_and_no_trailing_blanks():
    lines = run("list").stdout.splitlines()
    assert len(lines) > 5
    assert [line for line in lines if line != line.rstrip() or "\x1b" in line] == []


def test_describe_of_an_unknown_name_says_the_nearest():
    result = run("describe", "onxx")
    assert result.exit_code == 1
    assert "No component is called 'onxx'" in result.stderr
    assert "Did you mean 'onnx'?" in result.stderr


def test_describe_of_what_a_broken_plugin_would_offer_says_why(site):
    site.plugin("fewbits-bad", before="import nowhere")
    result = run("describe", "bad", "--kind", "algorithm")
    assert result.exit_code == 1
    assert "nowhere" in result.stderr


def test_describe_of_a_component_that_cannot_be_imported_names_its_plugin(site):
    site.plugin("fewbits-good")
    site.write("fewbits_good_parts.py", "import nowhere")
    result = run("describe", "good")
    assert result.exit_code == 1
    assert "fewbits-good 1.0" in result.stderr
    assert "nowhere" in result.stderr
    assert "Traceback" not in result.output


def test_doctor_shows_the_traceback_of_a_bad_plugin_and_fails(site):
    site.plugin("fewbits-bad", before="raise ValueError('as it happens')")
    result = run("doctor")
    assert result.exit_code == 1
    assert "Traceback" in result.stdout
    assert "as it happens" in result.stdout
    assert "Something is wrong" in result.stdout


def test_doctor_imports_components_and_finds_the_one_that_fails(site):
    site.plugin("fewbits-good")
    site.write("fewbits_good_parts.py", "1 / 0")
    report = json.loads(run("doctor", "--json").stdout)
    assert report["healthy"] is False
    bad = next(plugin for plugin in report["plugins"] if plugin["name"] == "good")
    assert bad["status"] == "broken"
    assert "ZeroDivisionError" in bad["traceback"]


def test_doctor_tells_of_the_environment(site):
    environment = json.loads(run("doctor", "--json").stdout)["environment"]
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment["threads"] >= 1
    assert {"onnx", "onnxruntime", "numpy", "torch", "cpu_features", "free_disk_gb"} <= set(
        environment
    )


def test_a_plugin_s_command_runs_and_is_listed_without_being_imported(hello):
    result = run("--help")
    assert "hello     Says hello to the user" in result.stdout
    assert "greet_app" not in sys.modules
    assert run("hello", "--name", "Ada").stdout == "hello Ada\n"


def test_a_plugin_s_command_has_its_own_help_without_completion_options(hello):
    result = run("hello", "--help")
    assert "--name" in result.stdout
    assert "completion" not in result.stdout


def test_a_plugin_command_s_error_is_a_message_with_hint(hello):
    result = run("hello", "--fail")
    assert result.exit_code == 1
    assert result.stderr == "error: Nobody is there.\nhint: Knock louder.\n"


def test_a_plugin_s_command_that_cannot_be_imported_is_an_error(hello):
    hello.write("greet_app.py", "import nowhere")
    result = run("hello")
    assert result.exit_code == 1
    assert "plugin 'greet' (fewbits-greet 1.0)" in result.stderr


def test_a_plugin_cannot_replace_a_core_command(site):
    site.write("greet.py", COMMAND_PLUGIN.format(command="list", module="greet_app"))
    site.write("greet_app.py", HELLO)
    site.install("fewbits-greet", entries=["greet = greet"])
    result = run("--help")
    assert "hidden by the core's command" in result.stderr
    assert "builtin" in run("list", "plugins").stdout


def test_what_is_not_ours_keeps_its_traceback(hello):
    hello.write("greet_app.py", HELLO.replace("raise DataError", "raise KeyError('bug') #"))
    result = run("hello", "--fail")
    assert isinstance(result.exception, KeyError)


def test_a_closed_pipe_is_no_traceback():
    code = "fewbits list --json | head -c 1; echo ${PIPESTATUS[0]}"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; PATH={os.path.dirname(sys.executable)}:$PATH {code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
