"""The best state of what trains, kept on disk while training goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.workspace import processes
from gti_cli.workspace.files import replacing

if TYPE_CHECKING:
    from torch import nn

_FILE = "best.safetensors"


class BestState:
    """Keeps the parameters of a module that train, and puts them back; the first process writes for all."""

    def __init__(self, model: nn.Module, folder: Path) -> None:
        """Keep them in ``folder``, which all processes share and which outlives an interruption (of the scratch)."""
        self._model, self._path = model, folder / _FILE

    def keep(self) -> None:
        """Write the parameters as they are, in the place of those kept before."""
        from safetensors.torch import save_file

        if processes.rank():
            return
        kept = {n: p.detach().clone().contiguous() for n, p in self._model.named_parameters() if p.requires_grad}
        with replacing(self._path) as temporary:
            save_file(kept, temporary)

    def restore(self) -> None:
        """Put the kept parameters back into the module."""
        import torch
        from safetensors.torch import load_file

        if processes.world() > 1:
            torch.distributed.barrier()
        best = load_file(self._path)
        with torch.no_grad():
            for name, parameter in self._model.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(best[name])
