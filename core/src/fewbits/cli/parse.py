"""`fewbits parse`: a network becomes an archive."""

import typer

from fewbits.cli.common import Json, NoPlugin, Quiet, command, session_of
from fewbits.cli.flags import (
    EndNodes,
    InputShape,
    Name,
    Output,
    ParseFlags,
    PreprocessText,
    Source,
    StartNodes,
)
from fewbits.cli.source import check_output, open_model, output_path

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
    flags = ParseFlags(start_node_names, end_node_names, input_shape, preprocess, name)
    path = output_path(output, file, name or file.stem)
    check_output(path, file)
    model = open_model(session_of(ctx), file, flags)
    from fewbits import api
    from fewbits.cli import render
    from fewbits.cli.info import show, summary

    api.save(model, path)
    if json:
        render.print_json(summary(model) | {"archive": str(path)})
    elif not quiet:
        show(model)
        render.text(f"Wrote {path}")
