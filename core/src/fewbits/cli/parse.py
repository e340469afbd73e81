"""`fewbits parse`: a network becomes an archive."""

import typer

from fewbits.cli.common import command, session_of
from fewbits.cli.flags import Answer, Output, ParseFlags, Source
from fewbits.cli.grouped import grouped
from fewbits.cli.source import check_output, open_model, output_path

app = command()


@app.command("parse")
@grouped
def parse(
    ctx: typer.Context, file: Source, *, output: Output = None, flags: ParseFlags, answer: Answer
) -> None:
    """Read a network and write an archive at stage parsed."""
    path = output_path(output, file, flags.name or file.stem)
    check_output(path, file)
    model = open_model(session_of(ctx), file, flags)
    from fewbits import api
    from fewbits.cli import render
    from fewbits.cli.info import show, summary

    api.save(model, path)
    if answer.json:
        render.print_json(summary(model) | {"archive": str(path)})
    elif not answer.quiet:
        show(model)
        render.text(f"Wrote {path}")
