"""Save and restore an RQ-VAE's training: weights, Adam's moments, random states, history.

Everything is tensors in one safetensors file; nothing is pickled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gti_cli.workspace.files import replacing

FILE = "rqvae_training.safetensors"


@dataclass
class Progress:
    """How far training has come, apart from the tensors.

    Attributes:
        epoch: Epochs done.
        history: One row for each of them.
        revived: How many dead codes were initialised anew so far.
    """

    epoch: int
    history: list[dict[str, Any]]
    revived: int


def save(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, order: torch.Generator, progress: Progress
) -> None:
    """Write the state of a training under a temporary name, then rename: a kill leaves the old state or the new one.

    Args:
        folder: Where the file `FILE` goes.
        model: Its weights are saved.
        optimizer: Its moments are saved, but not its settings, which follow from the options.
        order: Generator of the order of items; torch's global generators are saved as well.
        progress: Epochs and history.
    """
    tensors: dict[str, Tensor] = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors.update({f"adam.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()})
    tensors["random.order"], tensors["random.cpu"] = order.get_state(), torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    # The history is JSON, as bytes in a tensor, so that one rename replaces the whole state.
    text = json.dumps({"epoch": progress.epoch, "history": progress.history, "revived": progress.revived})
    tensors["progress"] = torch.from_numpy(np.frombuffer(text.encode(), dtype=np.uint8).copy())
    with replacing(folder / FILE) as temporary:
        # Copies, because safetensors refuses tensors that share memory.
        save_file({name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}, temporary)


def load(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, order: torch.Generator) -> Progress | None:
    """Restore the state that `save` wrote into model, optimizer and generators.

    Args:
        folder: Where the file `FILE` is.
        model: A model of the same shape.
        optimizer: An optimizer over the same parameters.
        order: Generator of the order of items.

    Returns:
        Epochs and history; None, with nothing changed, where there is no file or it is damaged.
    """
    try:
        tensors = load_file(folder / FILE)
    except (OSError, SafetensorError):
        return None
    model.load_state_dict(
        {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    )
    state = optimizer.state_dict()
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**state, "state": moments})
    order.set_state(tensors["random.order"])
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    saved = json.loads(tensors["progress"].numpy().tobytes().decode())
    return Progress(saved["epoch"], saved["history"], saved["revived"])
