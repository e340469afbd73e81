"""The `fewbits` command: finds the subcommand, loads it, turns errors into exit codes.

Nothing but typer is imported here; a command's module is imported when the command is used.
"""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command as build_command

import fewbits
from fewbits.cli.common import HELP_SETTINGS, NoPlugin, Session, session_of
from fewbits.cli.text import leave_text_alone
from fewbits.errors import FewbitsError, RecipeError
from fewbits.processes import leads

#: command → (module with its Typer app `app`, summary), in the order of the workflow.
COMMANDS = {
    "parse": ("fewbits.cli.parse", "Read a network and write an archive at stage parsed."),
    "optimize": ("fewbits.cli.optimize", "Run a recipe: calibrate, improve, quantize."),
    "tune": ("fewbits.cli.tune", "Find the smallest model that loses little enough."),
    "eval": ("fewbits.cli.evaluate", "Measure a model on data: float, emulated, or on the device."),
    "analyze": ("fewbits.cli.analyze", "Find where a quantized model loses accuracy, and why."),
    "compile": ("fewbits.cli.compile", "Write the file that the target runs."),
    "replay": ("fewbits.cli.replay", "Run an archive's history again and compare digests."),
    "info": ("fewbits.cli.info", "Show what a network or an archive holds."),
    "list": ("fewbits.cli.listing", "List what is installed: algorithms, targets, plugins."),
    "describe": ("fewbits.cli.describe", "Show a component's options, or a level's recipe."),
    "doctor": ("fewbits.cli.doctor", "Check the plugins and the environment."),
}

_COMPLETION_OPTIONS = ("install_completion", "show_completion")


class LazyCommand(TyperCommand):
    """A command known by name and summary, whose Typer app is loaded when it is run.

    Args:
        name: what the user types.
        summary: one line for the list of commands.
        load: returns the Typer app.
    """

    def __init__(self, name: str, summary: str, load: Callable[[], Any]) -> None:
        super().__init__(name, help=summary, rich_markup_mode=None)
        self._load = load

    def resolve(self) -> Any:
        """Import the Typer app and return the command built from it."""
        command = build_command(self._load())
        command.name = self.name
        command.params = [p for p in command.params if p.name not in _COMPLETION_OPTIONS]
        leave_text_alone(command)
        return command

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """Hand over to the real command, which then stands in the context."""
        command = self.resolve()
        if any(param.name == "end_node_names" for param in command.params):
            from fewbits.cli.reading import spread_names

            args = spread_names(args)
        if self.name == "describe":
            from fewbits.cli.describing import join_level

            args = join_level(args)
        return command.make_context(info_name, args, parent, **extra)


def _builtin(name: str) -> LazyCommand:
    module, summary = COMMANDS[name]
    return LazyCommand(name, summary, lambda: importlib.import_module(module).app)


class MainGroup(TyperGroup):
    """The group of all commands: the core's, and those that plugins offer."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands.update({name: _builtin(name) for name in COMMANDS})

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """Read the options that stand before the command."""
        leave_text_alone(self)
        return super().make_context(info_name, args, parent, **extra)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command; plugins are asked only for names that the core does not know."""
        if cmd_name not in self.commands:
            self._add_plugin_commands(ctx)
        return self.commands.get(cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the core's commands in the order of the workflow, then the plugins'."""
        self._add_plugin_commands(ctx)
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand; a deliberate error becomes a message and an exit code."""
        try:
            return super().invoke(ctx)
        except FewbitsError as error:
            from fewbits.cli import render

            render.failure(error)
            if not isinstance(error, RecipeError):
                render.kept(session_of(ctx).checkpoint)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as interrupt:
            from fewbits.cli import render

            render.note("interrupted")
            render.kept(session_of(ctx).checkpoint)
            raise typer.Exit(130) from interrupt

    def _add_plugin_commands(self, ctx: Any) -> None:
        session = session_of(ctx)
        for found in session.registry.components("command"):
            component = found.component
            if component.name in COMMANDS:
                session.warn(
                    f"command '{component.name}' of plugin '{found.record.name}' is hidden "
                    "by the core's command of that name"
                )
            elif component.name not in self.commands:
                load = _plugin_app(session, component.name)
                self.commands[component.name] = LazyCommand(component.name, component.summary, load)


def _plugin_app(session: Session, name: str) -> Callable[[], Any]:
    return lambda: session.registry.load("command", name)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fewbits {fewbits.__version__}")
        raise typer.Exit


app = typer.Typer(
    name="fewbits",
    cls=MainGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings=HELP_SETTINGS,
)


@app.callback()
def _main_options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    no_plugin: NoPlugin = None,
) -> None:
    """Quantize trained networks to 4, 8 and 16 bits, and check what that costs.

    fewbits optimize net.onnx --calib-path images/ writes net.fewbits;
    fewbits eval and fewbits compile go on from there.
    """


def main() -> None:
    """Run the command line; the entry point of the `fewbits` script.

    Of processes that share a run only the first prints results.
    """
    if not leads():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    build_command(app)(prog_name="fewbits")
