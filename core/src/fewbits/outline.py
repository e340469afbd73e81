"""What an archive says of itself, without loading a network: for `fewbits info` and for reading."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from fewbits.container import DAMAGED, Container, open_container, sha256, to_json
from fewbits.errors import ArchiveError
from fewbits.history import from_dict
from fewbits.provenance import StepRecord

PROVENANCE = "provenance.json"
PREPROCESS = "preprocess.json"
STAGES = ("parsed", "optimized", "quantized", "compiled")


@dataclass(frozen=True)
class StageOutline:
    """One stage of an archive.

    Args:
        stage: its name.
        folder: where its parts lie; stages that do not differ share a folder.
        digest: digest of the model at this stage.
        steps: how many records of the history led to it.
        size: bytes of its parts.
    """

    stage: str
    folder: str
    digest: str
    steps: int
    size: int


@dataclass(frozen=True)
class Outline:
    """An archive without its arrays.

    Args:
        name: the model's name.
        format: version of the archive's format.
        fewbits: version of fewbits that wrote it.
        stages: oldest first; the last one is what `read` returns.
        history: every step so far; durations are not kept.
        preprocess: how pictures become inputs, or None.
    """

    name: str
    format: int
    fewbits: str
    stages: tuple[StageOutline, ...]
    history: tuple[StepRecord, ...]
    preprocess: Mapping[str, Any] | None


def peek(path: Path) -> Outline:
    """Read an archive's manifest and history only.

    Raises:
        ArchiveError: not an archive, truncated, too new, damaged, or unsafe to read.
    """
    with open_container(path) as container:
        return read_outline(container)


def read_outline(container: Container) -> Outline:
    """Read and check what an open archive says of itself.

    Raises:
        ArchiveError: stages, folders and digests do not fit together.
    """
    manifest = container.manifest
    history = tuple(from_dict(fields) for fields in json.loads(container.read(PROVENANCE)))
    stages = tuple(_stage(entry, manifest["parts"]) for entry in manifest["stages"])
    _check_order(stages, len(history))
    _check_parts(stages, manifest["parts"])
    preprocess = f"{stages[-1].folder}/{PREPROCESS}"
    held = json.loads(container.read(preprocess)) if preprocess in manifest["parts"] else None
    name, version = str(manifest["name"]), str(manifest["fewbits"])
    return Outline(name, int(manifest["format"]), version, stages, history, held)


def _stage(entry: Mapping[str, Any], parts: Mapping[str, Any]) -> StageOutline:
    folder = str(entry["folder"])
    own = {name: part for name, part in parts.items() if _folder(name) == folder}
    digests = {name.rpartition("/")[2]: str(part["sha256"]) for name, part in own.items()}
    if stage_digest(str(entry["stage"]), content_digest(digests)) != entry["digest"]:
        raise ArchiveError(
            f"Stage {entry['stage']} has a wrong digest.",
            hint=DAMAGED,
        )
    size = sum(int(part["bytes"]) for part in own.values())
    return StageOutline(
        str(entry["stage"]), folder, str(entry["digest"]), int(entry["steps"]), size
    )


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _check_order(stages: tuple[StageOutline, ...], records: int) -> None:
    ranks = [STAGES.index(stage.stage) for stage in stages]
    steps = [0, *(stage.steps for stage in stages)]
    grows = all(a < b for a, b in pairwise(ranks))
    if not stages or not grows or steps != sorted(steps) or steps[-1] != records:
        raise ArchiveError(
            "The archive's stages and its history do not fit together.",
            hint=DAMAGED,
        )


def _check_parts(stages: tuple[StageOutline, ...], parts: Mapping[str, Any]) -> None:
    folders = {stage.folder for stage in stages}
    for name in parts:
        if name != PROVENANCE and _folder(name) not in folders:
            raise ArchiveError(
                f"'{name}' belongs to no stage.", hint="fewbits writes no such archive."
            )


def content_digest(digests: Mapping[str, str]) -> str:
    """Return the digest of a stage's parts, given the digest of each by name."""
    return sha256(to_json(dict(sorted(digests.items()))))


def stage_digest(stage: str, content: str) -> str:
    """Return a model's digest: its stage and the digest of its content."""
    return sha256(f"{stage}\n{content}".encode())
