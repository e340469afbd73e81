"""`fewbits parse`: a network becomes an archive."""

import typer

from fewbits.cli.common import Json, NoPlugin, Quiet, command, session_of
from fewbits.cli.source import (
    EndNodes,
    InputShape,
    Name,
    Output,
    ParseFlags,
    PreprocessText,
    Source,
    StartNodes,
    open_model,
    save,
)

app = command()


@app.command("parse")
def parse(
    ctx: typer.Context,
    file: Source,
    output: Output = None,
    start_node_names: StartNodes = None,
    end_node_names: EndNodes = None,
    input_shape: InputShape = None,
    preprocess: PreprocessText = None,
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_plugin: NoPlugin = None,
) -> None:
    """Read a network and write an archive at stage parsed."""
    session = session_of(ctx)
    flags = ParseFlags(
        start_node_names or (), end_node_names or (), input_shape or (), preprocess, name
    )
    model = open_model(session, file, flags)
    path = save(model, output)
    from fewbits.cli import render
    from fewbits.cli.info import show, summary

    if json:
        render.print_json(summary(model) | {"archive": str(path)})
    elif not quiet:
        show(model)
        render.text(f"wrote {path}")
