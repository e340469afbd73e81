"""Spares commands whose options are all text and flags the import of pydantic.

Recent versions of typer build a pydantic adapter for every option that is not a flag, which
costs more time than `fewbits list` takes altogether. Text and flags need no conversion. Where typer
works otherwise, nothing is done.
"""

from typing import Any


class _AsTyped:
    """Gives text back as it was typed."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value; an option that was not repeated has none."""
        if value is None and (param.multiple or param.nargs == -1):
            return ()
        return value


def leave_text_alone(command: Any) -> None:
    """Let a command's text options and flags, --help among them, skip typer's conversion."""
    for param in command.params:
        _spare(param)
    build_help = command.get_help_option

    def get_help_option(ctx: Any) -> Any:
        option = build_help(ctx)
        _spare(option)
        return option

    command.get_help_option = get_help_option


def _spare(param: Any) -> None:
    annotation = getattr(getattr(param, "type_descriptor", None), "annotation", None)
    if annotation in (str, list[str], bool) and hasattr(param, "_runtime_param"):
        param._runtime_param = _AsTyped()
