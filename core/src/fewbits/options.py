"""Options of components: frozen pydantic models, one validator for `-p`, TOML and Python."""

import enum
import types
import typing
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, to_jsonable_python
from pydantic_core.core_schema import ErrorType

from fewbits.errors import FewbitsError, RecipeError, nearest

#: how a bound is written behind a type.
_BOUNDS = {
    "ge": "≥ {}",
    "gt": "> {}",
    "le": "≤ {}",
    "lt": "< {}",
    "multiple_of": "multiple of {}",
    "min_length": "length ≥ {}",
    "max_length": "length ≤ {}",
    "pattern": "matching {}",
}
_SHOWN = 60


class Options(BaseModel):
    """Base of every component's options: immutable, and an unknown key is an error.

    One value stands for a list of one (`layers=conv1`), and a number for text where text is
    wanted (a tensor called `468`). Infinity and NaN are refused.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=False,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _wrap_single_values(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        fields = cls.model_fields
        return {
            key: [value] if key in fields and _is_one_of_many(fields[key], value) else value
            for key, value in values.items()
        }


OptionsT = TypeVar("OptionsT", bound=Options)


@dataclass(frozen=True, slots=True)
class OptionInfo:
    """One option as `fewbits describe` shows it; every field is JSON-able.

    Args:
        name: what users type.
        type: such as `int`, `minmax | mse`, `list of float`, `{str: int}`, `int or none`.
        bounds: such as `≥ 0, ≤ 1`; empty when there are none.
        required: whether it has no default.
        default: its default, None when it is required.
        help: the field's description.
    """

    name: str
    type: str
    bounds: str
    required: bool
    default: Any
    help: str


def describe(cls: type[Options]) -> list[OptionInfo]:
    """Return every option of `cls`, in the order of its definition.

    >>> class Example(Options):
    ...     mode: Literal["minmax", "mse"] = "minmax"
    >>> [(o.name, o.type, o.bounds, o.default) for o in describe(Example)]
    [('mode', 'minmax | mse', '', 'minmax')]
    """
    return [_info(name, field) for name, field in cls.model_fields.items()]


def build(cls: type[OptionsT], values: Mapping[str, Any], *, owner: str) -> OptionsT:
    """Validate `values` and return an instance of `cls`.

    Args:
        cls: the options class.
        values: option names and values, as read from `-p`, TOML or Python.
        owner: who the options belong to, for the message (`step 'quantize'`).

    Raises:
        RecipeError: keys are unknown (the hint names the nearest) or values do not fit; the
            message lists every one of them.
    """
    try:
        return cls.model_validate(dict(values))
    except FewbitsError as error:
        raise RecipeError(f"{owner}: {error.message}", hint=error.hint) from error
    except ValidationError as error:
        faults = list(_faults(cls, values, error.errors(include_url=False)))
        message = f"{owner}: {'; '.join(text for text, _ in faults)}."
        hints = dict.fromkeys(hint for _, hint in faults if hint)
        raise RecipeError(message, hint=" ".join(hints)) from error


def _faults(
    cls: type[Options], values: Mapping[str, Any], errors: Iterable[ErrorDetails]
) -> Iterator[tuple[str, str]]:
    """Yield message and hint once for each wrong option, whatever pydantic says of its parts."""
    by_option: defaultdict[str, list[ErrorDetails]] = defaultdict(list)
    for error in errors:
        by_option[str(error["loc"][0]) if error["loc"] else ""].append(error)
    for name, found in by_option.items():
        if name in cls.model_fields:
            yield _fault(_info(name, cls.model_fields[name]), name in values, values, found)
        elif name:
            yield f"there is no option '{name}'", nearest(name, cls.model_fields)
        else:
            yield _own_words(found) or found[0]["msg"], ""


def _fault(
    info: OptionInfo, given: bool, values: Mapping[str, Any], errors: Sequence[ErrorDetails]
) -> tuple[str, str]:
    """Return message and hint for one option that does not fit."""
    hint = f"{info.name}: {info.help}" if info.help else ""
    if not given:
        return f"option '{info.name}' is required", hint
    wanted = ", ".join(filter(None, [info.type, info.bounds]))
    words = _own_words(errors) or f"it must be {wanted}"
    return f"option '{info.name}' is {_shorten(repr(values[info.name]))}: {words}", hint


def _own_words(errors: Sequence[ErrorDetails]) -> str:
    """Return what a validator of the class itself said, in place of pydantic's phrases."""
    for error in errors:
        if error["type"] in ("value_error", "assertion_error"):
            return str(error["ctx"]["error"]).rstrip(".")
        if error["type"] not in typing.get_args(ErrorType):
            return error["msg"].rstrip(".")
    return ""


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _info(name: str, field: FieldInfo) -> OptionInfo:
    required = field.is_required()
    default = None if required else field.get_default(call_default_factory=True)
    return OptionInfo(
        name,
        type_name(field.annotation),
        ", ".join(_bounds(field.annotation, field.metadata)),
        required,
        to_jsonable_python(default, fallback=str),
        field.description or "",
    )


def type_name(annotation: Any) -> str:
    """Return a type as people write its values.

    >>> type_name(int | None), type_name(Literal["a", "b"]), type_name(tuple[int, int])
    ('int or none', 'a | b', '[int, int]')
    >>> type_name(tuple[float, ...]), type_name(dict[str, int])
    ('list of float', '{str: int}')
    """
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is None or annotation is types.NoneType:
        return "none"
    if origin is Literal:
        return " | ".join(str(value) for value in parts)
    if origin is Annotated:
        return type_name(parts[0])
    if _is_union(origin):
        return " or ".join(type_name(part) for part in parts)
    if origin is not None:
        return _collection_name(origin, [p for p in parts if p is not Ellipsis], Ellipsis in parts)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " | ".join(str(member.value) for member in annotation)
    return str(getattr(annotation, "__name__", annotation))


def _collection_name(origin: Any, parts: Sequence[Any], endless: bool) -> str:
    names = [type_name(part) for part in parts]
    if issubclass(origin, Mapping):
        return f"{{{': '.join(names)}}}"
    if issubclass(origin, tuple) and not endless:
        return f"[{', '.join(names)}]"
    return f"list of {names[0]}"


def _bounds(annotation: Any, metadata: Iterable[Any]) -> Iterator[str]:
    """Yield the bounds on an option, those on the members of a union included."""
    for constraint in metadata:
        for attribute, wording in _BOUNDS.items():
            value = getattr(constraint, attribute, None)
            if value is not None:
                yield wording.format(value)
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is Annotated:
        inner = (getattr(p, "metadata", [p]) for p in parts[1:])
        yield from _bounds(parts[0], [c for constraints in inner for c in constraints])
    elif _is_union(typing.get_origin(annotation)):
        for part in parts:
            yield from _bounds(part, ())


def _is_union(origin: Any) -> bool:
    return origin in (typing.Union, types.UnionType)


def _is_one_of_many(field: FieldInfo, value: Any) -> bool:
    """Say whether `value` stands alone where the option takes a list of any length only."""
    if not isinstance(value, str | int | float):
        return False
    members = [
        _bare(member) for member in _members(field.annotation) if member is not types.NoneType
    ]
    return bool(members) and all(_is_list(member) for member in members)


def _members(annotation: Any) -> tuple[Any, ...]:
    return (
        typing.get_args(annotation) if _is_union(typing.get_origin(annotation)) else (annotation,)
    )


def _bare(annotation: Any) -> Any:
    return (
        typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation
    )


def _is_list(annotation: Any) -> bool:
    origin = typing.get_origin(annotation) or annotation
    if origin is tuple:
        return Ellipsis in typing.get_args(annotation)
    return isinstance(origin, type) and issubclass(origin, (list, Set, frozenset))
