"""The archive: one file, `NAME.fewbits`, with every stage of a model and its history."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewbits import __version__
from fewbits.container import Container, open_container, sha256, to_json, write_container
from fewbits.errors import ModelError
from fewbits.history import to_dict
from fewbits.model import Model, Stage
from fewbits.outline import (
    PROVENANCE,
    Outline,
    StageOutline,
    content_digest,
    peek,
    read_outline,
    stage_digest,
)
from fewbits.serialize import from_parts, to_parts

__all__ = ["Outline", "StageOutline", "content", "digest", "peek", "read", "write"]


def content(model: Model) -> str:
    """Return the digest of the graph, weights, encodings, precisions, masks and preprocessing."""
    return content_digest(_digests(to_parts(model)))


def digest(model: Model) -> str:
    """Return the digest of the model's stage and content; name, history and past do not count."""
    return stage_digest(model.stage.value, content(model))


def _digests(parts: Mapping[str, bytes]) -> dict[str, str]:
    return {name: sha256(data) for name, data in parts.items()}


def write(model: Model, path: Path) -> None:
    """Write the model with all its stages; atomic, and the same model gives the same bytes.

    Durations are not written. Stages that do not differ share their parts.

    Raises:
        FewbitsError: the file cannot be written; an earlier one stays as it was.
        ModelError: the stages' histories are not beginnings of the last one's.
    """
    records = [to_dict(record) for record in model.history]
    parts: dict[str, bytes] = {PROVENANCE: to_json(records)}
    digests = _digests(parts)
    folders: dict[str, str] = {}
    stages = []
    for past in (*model.ancestors, model):
        _check_history(past, records)
        own = to_parts(past)
        found = _digests(own)
        held = content_digest(found)
        folder = folders.setdefault(held, f"stages/{past.stage.value}")
        parts |= {f"{folder}/{name}": data for name, data in own.items()}
        digests |= {f"{folder}/{name}": value for name, value in found.items()}
        stages.append(_entry(past, folder, held))
    manifest = {"fewbits": __version__, "name": model.name, "stages": stages}
    write_container(path, manifest, parts, digests)


def _entry(model: Model, folder: str, held: str) -> dict[str, Any]:
    return {
        "stage": model.stage.value,
        "folder": folder,
        "digest": stage_digest(model.stage.value, held),
        "steps": len(model.history),
    }


def _check_history(past: Model, records: list[dict[str, Any]]) -> None:
    own = [to_dict(record) for record in past.history]
    if own != records[: len(own)]:
        raise ModelError(
            f"The {past.stage} stage of {past.name} has another history than what came of it.",
            hint="Go on from a stage with Model.advance, which keeps the history.",
        )


def read(path: Path) -> Model:
    """Read the latest stage, with the earlier ones as its ancestors.

    Digests, format version, sizes and paths are checked, and nothing in the file is executed.

    Raises:
        ArchiveError: not an archive, truncated, too new, damaged, or unsafe to read.
    """
    with open_container(path) as container:
        outline = read_outline(container)
        held: dict[str, Model] = {}
        past: tuple[Model, ...] = ()
        for entry in outline.stages:
            if entry.folder not in held:
                held[entry.folder] = _load(container, entry, outline.name)
            model = held[entry.folder].replace(
                stage=Stage(entry.stage), history=outline.history[: entry.steps], ancestors=past
            )
            past = (*past, model)
        return model


def _load(container: Container, entry: StageOutline, name: str) -> Model:
    prefix = f"{entry.folder}/"
    names = [n for n in container.manifest["parts"] if n.startswith(prefix)]
    parts = {n.removeprefix(prefix): container.read(n) for n in names}
    return from_parts(parts, name=name, stage=Stage(entry.stage))
