"""Options of components: frozen pydantic models, one validator for `-p`, TOML and Python."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from fewbits.errors import RecipeError, nearest


class Options(BaseModel):
    """Base of every component's options: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)


OptionsT = TypeVar("OptionsT", bound=Options)


def build(cls: type[OptionsT], values: Mapping[str, Any], *, owner: str) -> OptionsT:
    """Validate `values` and return an instance of `cls`.

    Args:
        cls: the options class.
        values: option names and values, as read from `-p`, TOML or Python.
        owner: who the options belong to, for the message (`step 'quantize'`).

    Raises:
        RecipeError: a key is unknown (the hint names the nearest) or a value does not fit.
    """
    for key in values:
        if key not in cls.model_fields:
            raise RecipeError(
                f"{owner} has no option '{key}'.", hint=nearest(key, cls.model_fields)
            )
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RecipeError(
            f"{owner}: option '{place}' is {first['input']!r}: {first['msg']}.",
            hint=f"See `fewbits describe` for the types and bounds of {owner}.",
        ) from error
