"""A checkpoint: trained weights, optimizer state and the number of steps done. Nothing else is remembered."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gem_core.errors import GemError
from gem_core.method.optimizer import Optimizer

WEIGHTS, OPTIMIZER, STATE = "trainable.safetensors", "optimizer.pt", "state.json"


def write(
    folder: Path, *, step: int, run: Mapping[str, str], weights: Mapping[str, Tensor], optimizer: Optimizer
) -> None:
    """Write a checkpoint into an empty folder.

    Args:
        folder: Exists.
        step: Steps done.
        run: What the checkpoint belongs to (digests); a resumed run has to be the same.
        weights: Every trained tensor by name.
        optimizer: Of these weights.

    Raises:
        GemError: It cannot be written (a full disk). Earlier checkpoints are not touched.
    """
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
        torch.save(optimizer.state_dict(), folder / OPTIMIZER)
        (folder / STATE).write_text(json.dumps({"step": step, "run": dict(run)}, sort_keys=True), encoding="utf-8")
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors wrap what the disk says
        raise GemError(
            f"cannot write the checkpoint of step {step} in {folder} ({str(error).splitlines()[0]}); "
            "free some space and run again: it continues from the checkpoint before"
        ) from error


def read(folder: Path, *, run: Mapping[str, str], weights: Mapping[str, Tensor], optimizer: Optimizer) -> int:
    """Put a checkpoint's state into ``weights`` and ``optimizer``, in place.

    Returns:
        Steps done.

    Raises:
        GemError: Damaged, or of another run.
    """
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        saved = load_file(folder / WEIGHTS)
        moments = torch.load(folder / OPTIMIZER, weights_only=True, map_location="cpu")
    except (OSError, ValueError, RuntimeError, EOFError, SafetensorError) as error:
        raise GemError(f"the checkpoint in {folder} is damaged ({str(error).splitlines()[0]}); delete it") from error
    other = [name for name, value in run.items() if state["run"].get(name) != value]
    if other or saved.keys() != weights.keys():
        raise GemError(
            f"the checkpoint in {folder} is of another run ({', '.join(other) or 'other weights'} differ); "
            "use another folder, or delete it"
        )
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(saved[name])
    optimizer.load_state_dict(moments)
    return int(state["step"])
