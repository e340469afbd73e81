"""`fewbits parse`: a network becomes an archive."""

import typer

from fewbits.cli.common import command, session_of
from fewbits.cli.flags import Answer, GivenNetwork, Output, ParseFlags
from fewbits.cli.grouped import grouped
from fewbits.cli.source import check_output, open_model
from fewbits.cli.subject import find

app = command()


@app.command("parse")
@grouped
def parse(
    ctx: typer.Context,
    given: GivenNetwork,
    *,
    output: Output = None,
    flags: ParseFlags,
    answer: Answer,
) -> None:
    """Read a network and write an archive at stage parsed."""
    session = session_of(ctx)
    subject = find(session, given, flags.name)
    path = subject.output(output)
    check_output(path, subject.file)
    model = open_model(session, subject, flags)
    from fewbits import api
    from fewbits.cli import render
    from fewbits.cli.info import show, summary

    api.save(model, path)
    if answer.json:
        render.print_json(summary(model) | {"archive": str(path)})
    elif not answer.quiet:
        show(model)
        render.text(f"Wrote {path}")
