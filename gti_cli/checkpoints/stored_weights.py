"""Read a saved checkpoint back, and compare its weights with those in memory, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.errors import InputError
from gti_cli.tensors.safetensors_rows import TensorPlace, read_tensors

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_PIECE = 1 << 22  # bytes compared at a time
_REMEDY = "check the disk and its free space, then run the command again"


def check_stored_weights(folder: Path, model: PreTrainedModel) -> None:
    """Compare each tensor of a folder's safetensors with the weights of the model that was saved there.

    The files are read in pieces of 4 MiB, so memory does not grow.

    Args:
        folder: Folder that ``model.save_pretrained`` has written.
        model: The model; on several processes, with whole weights on this one.

    Raises:
        InputError: When a tensor is missing, or its number format, shape or bits differ.
    """
    stored = read_tensors(folder)
    expected = _expected(model, stored)
    if missing := sorted(expected.keys() - stored.keys()):
        raise InputError(f"the weights {missing[0]} were not written", where=str(folder), remedy=_REMEDY)
    for name, place in stored.items():
        if name not in expected or not _same_bits(place, expected[name]):
            raise InputError(
                f"tensor {name!r} was written with other numbers than the model has in memory",
                where=str(place.file),
                remedy=_REMEDY,
            )


def _expected(model: PreTrainedModel, stored: dict[str, TensorPlace]) -> dict[str, torch.Tensor]:
    """Return the tensors that the files must hold, by their names there."""
    state: dict[str, torch.Tensor] = dict(model.state_dict())
    for name in getattr(model, "_keys_to_ignore_on_save", None) or ():
        state.pop(name, None)
    if not stored.keys() <= state.keys():
        # Architectures that stack the weights of files on loading (experts) or rename them: transformers undoes that
        # when it saves, and so it is undone here.
        from transformers.core_model_loading import revert_weight_conversion
        from transformers.modeling_utils import remove_tied_weights_from_state_dict

        state = revert_weight_conversion(model, remove_tied_weights_from_state_dict(state, model))
    # Of tied weights, which are one and the same memory, the files hold one.
    written = {_memory(state[name]) for name in stored if name in state}
    return {name: weight for name, weight in state.items() if name in stored or _memory(weight) not in written}


def _memory(weight: torch.Tensor) -> tuple[int, int]:
    """Return where a tensor's numbers lie, and how many there are."""
    return weight.data_ptr(), weight.numel()


def _same_bits(place: TensorPlace, weight: torch.Tensor) -> bool:
    import torch

    formats = {
        torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
        torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    }  # fmt: skip
    if place.dtype != formats.get(weight.dtype) or place.shape != tuple(weight.shape):
        return False
    numbers = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return place.holds(numbers[first : first + _PIECE] for first in range(0, len(numbers), _PIECE))
