"""`fewbits describe level N`: a level's recipe, what it needs, and whether that is there."""

import shlex
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fewbits.errors import UsageError

if TYPE_CHECKING:
    from fewbits.cli.common import Session
    from fewbits.levels import Level

LEVEL = "level"


def join_level(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `level` and the number behind it as one word.

    A negative number would be taken for an option.

    >>> join_level(["level", "-100", "--json"])
    ['level -100', '--json']
    """
    joined = list(arguments)
    for index, (word, number) in enumerate(pairwise(joined)):
        if word == LEVEL and number.removeprefix("-").isdecimal():
            joined[index : index + 2] = [f"{word} {number}"]
            break
    return joined


def is_level(name: str) -> bool:
    """Say whether `name` means a level, or all of them, and no component."""
    return name.split(" ")[0].removesuffix("s") == LEVEL


def describe_level(session: "Session", name: str, compression: int | None, *, json: bool) -> None:
    """Print one level, or the table of all.

    Raises:
        UsageError: there is no such level; the hint lists them.
    """
    from fewbits.cli import render

    _, _, number = name.partition(" ")
    if number:
        described = description(session, _number(number), compression or 0)
        render.print_json(described) if json else _show(described)
    elif compression is not None:
        raise UsageError("Which optimization level is meant?", hint="Write: level 2.")
    else:
        rows = overview(session)
        render.print_json(rows) if json else _show_all(rows)


def _number(text: str) -> int:
    if not text.removeprefix("-").isdecimal():
        raise UsageError(f"'{text}' is no level.", hint="Write a number, as in: level 2.")
    return int(text)


def description(session: "Session", optimization: int, compression: int) -> dict[str, Any]:
    """Return all that there is to say of a level, JSON-able."""
    from fewbits.levels import level

    found = level(optimization, compression)
    return {
        "optimization_level": optimization,
        "compression_level": compression,
        "summary": found.summary,
        "steps": [{"use": step.use, "options": dict(step.options)} for step in found.steps],
        "flags": " ".join(f"-p {shlex.quote(str(step))}" for step in found.steps),
        "toml": found.recipe.to_toml(),
        "needs": {
            "images": found.images,
            "torch": found.torch,
            "distributions": list(found.distributions),
        },
        "missing": [
            {"what": each.what, "remedy": each.remedy} for each in _missing(session, found)
        ],
    }


def _missing(session: "Session", found: "Level") -> list[Any]:
    """Return what of a level's needs this machine lacks; images are not asked for."""
    from fewbits.needs import unmet

    return unmet(found, session.registry, found.images)


def overview(session: "Session") -> list[dict[str, Any]]:
    """Return one row for each optimization level."""
    from fewbits.levels import OPTIMIZATION, level

    rows = []
    for number, summary in OPTIMIZATION.items():
        found = level(number)
        missing = [each.what for each in _missing(session, found)]
        needs = {"images": found.images, "torch": found.torch}
        row = {"optimization_level": number, "summary": summary, **needs, "missing": missing}
        rows.append(row)
    return rows


def _show(item: dict[str, Any]) -> None:
    from fewbits.cli import render

    numbers = f"optimization {item['optimization_level']}, compression {item['compression_level']}"
    render.heading(f"level {item['optimization_level']}", numbers)
    render.text(f"{item['summary'][:1].upper()}{item['summary'][1:]}.")
    render.text(f"needs: {_needs(item['needs'])}")
    for each in item["missing"]:
        render.text(f"missing here: {each['what']} ({each['remedy']})")
    render.text(f"\nas flags:\n{item['flags']}")
    render.text(f"\nas a file for --recipe:\n{item['toml'].rstrip()}")


def _needs(needs: dict[str, Any]) -> str:
    images = (
        f"{needs['images']} calibration images" if needs["images"] > 1 else "calibration images"
    )
    return ", ".join([images, *(["torch"] if needs["torch"] else []), *needs["distributions"]])


def _show_all(rows: list[dict[str, Any]]) -> None:
    from fewbits.cli import render
    from fewbits.levels import COMPRESSION

    render.table(
        ("optimization", "what it does", "images", "torch", "missing here"),
        [
            (
                r["optimization_level"],
                r["summary"],
                r["images"],
                r["torch"],
                "; ".join(r["missing"]),
            )
            for r in rows
        ],
        right=("optimization", "images"),
    )
    render.text()
    render.table(
        ("compression", "weights in 4 bits"),
        [(number, f"{100 * share:.0f} %") for number, share in COMPRESSION.items()],
        right=("compression", "weights in 4 bits"),
    )
