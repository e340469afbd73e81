"""Options that belong together, taken by a command as one parameter."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from fewbits.cli.grouped import grouped
from typer.testing import CliRunner

Wide = Annotated[int, typer.Option("--width", "--broad", help="How wide.")]


@dataclass(frozen=True)
class Size:
    height: Annotated[int, typer.Argument(help="How high.")]
    width: Wide = 2


@dataclass(frozen=True)
class Cube(Size):
    depth: Annotated[int | None, typer.Option("--depth", help="How deep.")] = None


def app_of(command):
    app = typer.Typer()
    app.command()(grouped(command))
    return app


def test_fields_of_a_group_are_arguments_and_options():
    def show(ctx: typer.Context, size: Cube, loud: bool = False) -> None:
        typer.echo(f"{size} {loud} {ctx.info_name}")

    result = CliRunner().invoke(app_of(show), ["3", "--broad", "4", "--loud"])
    assert result.output.startswith("Cube(height=3, width=4, depth=None) True")


def test_options_stand_in_the_help_where_the_group_stands():
    def show(*, first: bool = False, size: Size, last: bool = False) -> None: ...

    text = CliRunner().invoke(app_of(show), ["--help"]).output
    assert text.index("--first") < text.index("--width") < text.index("--last")


def test_two_groups_with_one_option_are_refused():
    def show(size: Size, cube: Cube) -> None: ...

    with pytest.raises(TypeError, match="height, width"):
        grouped(show)
