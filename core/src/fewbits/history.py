"""Step records as JSON and back. Durations stay out, so that the same run gives the same bytes."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from fewbits.provenance import LayerNote, Report, StepRecord


def plain(value: Any) -> Any:
    """Return `value` as JSON reads it back: tuples as lists, numpy numbers as Python's.

    >>> plain({"bits": (4, 8)})
    {'bits': [4, 8]}

    Raises:
        TypeError, ValueError: JSON cannot hold it.
    """
    return json.loads(json.dumps(value, default=_simplify))


def _simplify(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, str | int | float):
        return value
    raise TypeError(f"{type(value).__name__} is nothing that JSON can hold")


def to_dict(record: StepRecord) -> dict[str, Any]:
    """Return the record as JSON-able values, without its duration.

    Raises:
        TypeError, ValueError: an option, a figure of the report or a note is not JSON-able.
    """
    fields = _fields(record)
    del fields["seconds"]
    report = _fields(record.report)
    report["layers"] = [_fields(note) for note in record.report.layers]
    return dict(plain({**fields, "report": report}))


def _fields(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def from_dict(fields: Mapping[str, Any]) -> StepRecord:
    """Return the record that `to_dict` wrote; its duration is 0.

    Raises:
        KeyError, TypeError: it is no such record.
    """
    report = fields["report"]
    notes = tuple(LayerNote(**note) for note in report["layers"])
    whole = Report(**{**report, "layers": notes})
    return StepRecord(**{**fields, "seconds": 0.0, "report": whole})
