"""The best state of the parameters that train, written to disk while training goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.workspace import processes
from gti_cli.workspace.files import replacing

if TYPE_CHECKING:
    from torch import nn

_FILE = "best.safetensors"


class BestState:
    """Keeps the trainable parameters of a module on disk and restores them; the first process writes for all."""

    def __init__(self, model: nn.Module, folder: Path) -> None:
        """Keep the state of a module.

        Args:
            model: The module. Parameters that do not train are left out.
            folder: Folder that all processes share and that outlives an interruption (the run's scratch folder).
        """
        self._model, self._path = model, folder / _FILE

    def keep(self) -> None:
        """Write the parameters as they are now, in the place of those written before."""
        from safetensors.torch import save_file

        if processes.rank():
            return
        state = {n: p.detach().clone().contiguous() for n, p in self._model.named_parameters() if p.requires_grad}
        with replacing(self._path) as temporary:
            save_file(state, temporary)

    def restore(self) -> None:
        """Read the parameters that were written last back into the module."""
        import torch
        from safetensors.torch import load_file

        if processes.world() > 1:
            torch.distributed.barrier()  # the first process may still be writing
        best = load_file(self._path)
        with torch.no_grad():
            for name, parameter in self._model.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(best[name])
