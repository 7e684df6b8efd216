"""Where the hidden states of a run are kept: in memory, or in files of which the system reads what is needed.

A regression reads its hidden states in small slices, one after the other. So they need not be in memory together, and
the states of several levels need not be copied behind one another: `StackedStates` cuts slices out of the parts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch

from gti_cli.workspace.files import replacing

# Most bytes in memory, by kind of device: of hidden states, which above that go to files, and of prompts' keys and
# values, which above that are computed again in every pass.
BYTES_OF_STATES = {"cpu": 2**30, "cuda": 2**32}
BYTES_OF_CONTEXTS = {"cpu": 2**31, "cuda": 2**33}


def room(most: dict[str, int], device: torch.device) -> int:
    """Bytes that may be kept on a device: at most a quarter of what is free on a GPU now."""
    limit = most.get(device.type, most["cpu"])
    return min(limit, torch.cuda.mem_get_info(device)[0] // 4) if device.type == "cuda" else limit


class StackedStates:
    """The hidden states of several parts behind one another.

    Attributes:
        parts: (m, d) tensors of one width, number format and device.
    """

    parts: list[torch.Tensor]

    def __init__(self, parts: Sequence[torch.Tensor | StackedStates]) -> None:
        """Stack parts, of which none is copied.

        Args:
            parts: At least one.
        """
        flat: list[torch.Tensor] = []
        for part in parts:
            flat += part.parts if isinstance(part, StackedStates) else [part]
        self.parts = flat
        self._ends = list(accumulate(len(part) for part in flat))

    @property
    def dtype(self) -> torch.dtype:
        """The number format."""
        return self.parts[0].dtype

    @property
    def shape(self) -> tuple[int, int]:
        """Number of positions, and width of a state."""
        return self._ends[-1], self.parts[0].shape[1]

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, part: slice) -> torch.Tensor:
        """The states (c, d) of some positions that follow one another."""
        first, last, _ = part.indices(len(self))
        pieces = []
        begin = 0
        for states, end in zip(self.parts, self._ends, strict=True):
            if first < end and last > begin:
                pieces.append(states[max(first - begin, 0) : last - begin])
            begin = end
        if len(pieces) == 1:
            return pieces[0]
        return torch.cat(pieces) if pieces else self.parts[0][:0]


class StateStore:
    """Makes the tensors that hold hidden states, and finds those that an interrupted run has left in files.

    Attributes:
        device: Where states are kept.
    """

    def __init__(self, folder: Path | None, device: torch.device) -> None:
        """Choose where to keep states.

        Args:
            folder: A folder of this process alone, which an interrupted run leaves behind (None: memory).
            device: Where to keep them in memory. Files are read by the CPU.
        """
        self._folder = folder
        self.device = device if folder is None else torch.device("cpu")

    def make(self, name: str, count: int, width: int, dtype: torch.dtype) -> torch.Tensor:
        """Make room for the states (count, width) of ``name``."""
        if self._folder is None or not count:
            return torch.empty(count, width, dtype=dtype, device=self.device)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}.states"
        path.unlink(missing_ok=True)  # half of it may be there
        _reserve(path, count * width * dtype.itemsize)
        return torch.from_file(str(path), shared=True, size=count * width, dtype=dtype).view(count, width)

    def finish(self, name: str, states: torch.Tensor, numbers: dict[str, torch.Tensor]) -> None:
        """Note that the states of ``name`` are complete, with the small numbers (m,) that belong to them."""
        if self._folder is None or not len(states):
            return
        from safetensors.torch import save_file

        with replacing(self._folder / f"{name}.safetensors") as temporary:
            save_file({**numbers, "width": torch.tensor([states.shape[1]])}, temporary)

    def find(self, name: str, dtype: torch.dtype) -> tuple[torch.Tensor, dict[str, torch.Tensor]] | None:
        """Return the states of ``name`` and their numbers, if they are complete in a file."""
        if self._folder is None or not (self._folder / f"{name}.safetensors").is_file():
            return None
        from safetensors.torch import load_file

        numbers = load_file(self._folder / f"{name}.safetensors")
        width = int(numbers.pop("width"))
        count = len(next(iter(numbers.values())))
        path = str(self._folder / f"{name}.states")
        return torch.from_file(path, shared=True, size=count * width, dtype=dtype).view(count, width), numbers


def _reserve(path: Path, size: int) -> None:
    """Make a file of ``size`` bytes for which the disk has room.

    A file that is only given a length gets its blocks when they are first written. On a full disk such a write into
    mapped memory ends the process (SIGBUS), without a word. This way the error comes here, and as an exception.

    Raises:
        OSError: When the disk is full. The file is then removed.
    """
    try:
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
                return
            block = bytes(min(size, 1 << 22))
            for written in range(0, size, len(block)):  # macOS
                file.write(block[: size - written])
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
