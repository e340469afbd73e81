"""What training keeps after each round, to go on from after an interruption."""

import json
from pathlib import Path
from typing import Any

import torch
from fewbits.atomic import write_bytes
from fewbits.errors import DataError
from safetensors.torch import load, save
from torch import Tensor

from fewbits_qft.trainer import Judgement, Round, Trainer, put_weights, weights_of

_FILE = "rounds.safetensors"


def keep(trainer: Trainer, folder: Path, about: str) -> None:
    """Write the parameters, the best ones so far, and the optimizer's state; atomically.

    Args:
        trainer: after a round.
        folder: made if need be.
        about: what tells this run from others.
    """
    held = {f"now:{name}": x for name, x in weights_of(trainer.task.network).items()}
    held |= {f"best:{name}": x for name, x in trainer.best.items()}
    held |= dict(_flattened(trainer.optimizer.state_dict()["state"]))
    told = {"about": about, "rounds": json.dumps([_as_list(each) for each in trainer.done])}
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / _FILE, save({k: x.contiguous() for k, x in held.items()}, told))


def go_on(trainer: Trainer, folder: Path | None, about: str) -> bool:
    """Bring a trainer to where an interrupted run was; say whether there was one.

    Args:
        trainer: not started.
        folder: where `keep` wrote; None where nothing is kept.
        about: what tells this run from others; a file of another run is left alone.

    Raises:
        DataError: the file is damaged.
    """
    file = None if folder is None else folder / _FILE
    if file is None or not file.exists():
        return False
    data = file.read_bytes()
    try:
        held, told = load(data), _told(data)
        if told.get("about") != about:
            return False
        trainer.done = [_as_round(each) for each in json.loads(told["rounds"])]
        put_weights(trainer.task.network, _part(held, "now:"))
        device = next(trainer.task.network.parameters()).device
        trainer.best = {name: x.to(device) for name, x in _part(held, "best:").items()}
        state = trainer.optimizer.state_dict()
        trainer.optimizer.load_state_dict({**state, "state": _nested(_part(held, "state:"))})
    except Exception as error:
        raise DataError(
            f"{file} is damaged: {error}.", hint="Run without --resume to begin anew."
        ) from error
    return True


def _part(held: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): x for name, x in held.items() if name.startswith(prefix)}


def _flattened(state: dict[int, dict[str, Any]]) -> list[tuple[str, Tensor]]:
    return [
        (f"state:{number}:{name}", torch.as_tensor(x))
        for number, members in state.items()
        for name, x in members.items()
    ]


def _nested(flat: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, x in flat.items():
        number, _, name = key.partition(":")
        state.setdefault(int(number), {})[name] = x
    return state


def _told(data: bytes) -> dict[str, str]:
    """Return the words that a safetensors file carries in its header."""
    length = int.from_bytes(data[:8], "little")
    found: dict[str, str] = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return found


def _as_list(each: Round) -> list[float | None]:
    judged = each.judged
    return [each.number, each.loss, judged.loss, judged.snr_db, judged.agreement]


def _as_round(numbers: list[Any]) -> Round:
    number, loss, *judged = numbers
    return Round(int(number), loss, Judgement(*judged))
