"""Lets a command take options that belong together as one parameter.

A group is a frozen dataclass whose fields are annotated as typer wants its options. Typer reads a
command's signature; here it finds the fields in place of the group.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from typing import Any


def grouped(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return the command with each parameter that is a group replaced by the group's fields.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Size:
    ...     height: int = 1
    ...     width: int = 1
    >>> @grouped
    ... def area(size: Size) -> int:
    ...     return size.height * size.width
    >>> print(inspect.signature(area)), area(height=2, width=3)
    (*, height: int = 1, width: int = 1) -> int
    (None, 6)

    Raises:
        TypeError: two groups have a field of the same name.
    """
    signature = inspect.signature(command, eval_str=True)
    groups = {p.name: p.annotation for p in signature.parameters.values() if _is_group(p)}
    spread = [each for p in signature.parameters.values() for each in _spread(p)]

    @wraps(command)
    def run(**given: Any) -> Any:
        made = {name: _made(group, given) for name, group in groups.items()}
        return command(**given, **made)

    signature = signature.replace(parameters=_unique(spread))
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in spread}
    return run


def _is_group(parameter: inspect.Parameter) -> bool:
    return isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation)


def _spread(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    if not _is_group(parameter):
        yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        return
    for each in fields(parameter.annotation):
        yield inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, default=_default(each), annotation=each.type
        )


def _default(each: "Field[Any]") -> Any:
    return inspect.Parameter.empty if each.default is MISSING else each.default


def _made(group: Any, given: dict[str, Any]) -> Any:
    return group(**{each.name: given.pop(each.name) for each in fields(group)})


def _unique(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    names = [p.name for p in parameters]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TypeError(f"two groups have the option {', '.join(twice)}")
    return parameters
