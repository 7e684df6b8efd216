"""What a run has fitted, and the rows that belong to it, on disk for a run that goes on after an interruption."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from gti_cli.workspace import processes
from gti_cli.workspace.files import replacing

_FILE = "regression.safetensors"


@dataclass(frozen=True)
class FittedLevel:
    """What one regression did.

    Attributes:
        places: Places of the answers whose tokens it fitted.
        rows: Number of rows fitted.
        positions: Number of positions, those of other places included.
        ridge: Weight of the ridge.
        loss: Mean loss of the positions, in nats, without the ridge.
        steps: Steps of the solver.
        evaluations: Passes over the hidden states that these took.
        gradient: Norm of the objective's gradient as a share of the start's, without a ridge.
        converged: Whether the solver reached the tolerance.
    """

    places: list[int]
    rows: int
    positions: int
    ridge: float
    loss: float
    steps: int
    evaluations: int
    gradient: float
    converged: bool


@dataclass
class Sweep:
    """All levels, one after the other, with one strength of the ridge.

    Attributes:
        strength: Weight of the ridge in units of each level's `Coordinates.typical_curvature`.
        levels: The levels that are fitted so far.
        held_out_loss: Mean loss of held-out answers' tokens behind the rows, in nats (None: nothing is held out, or the
            sweep has not ended).
    """

    strength: float
    levels: list[FittedLevel] = field(default_factory=list)
    held_out_loss: float | None = None


@dataclass
class Progress:
    """How far a run is. Rows are matrices of `head_rows`.

    Attributes:
        rows: The rows as they are.
        before: The rows before the sweep that goes on.
        best: The rows that stay so far.
        best_loss: Their held-out loss (None: nothing is held out).
        kept: Number of the sweep that they come from; -1 for the start.
        sweeps: The sweeps so far. The last one goes on if its number of steps is not ``steps``.
        steps: Steps that the last sweep has taken.
        ended: Whether nothing is left to do.
    """

    rows: torch.Tensor
    before: torch.Tensor
    best: torch.Tensor
    best_loss: float | None = None
    kept: int = -1
    sweeps: list[Sweep] = field(default_factory=list)
    steps: int = 0
    ended: bool = False


class SavedSweeps:
    """One file with a run's `Progress`; the first process writes for all."""

    def __init__(self, folder: Path) -> None:
        """Choose the file.

        Args:
            folder: Folder that all processes share and that outlives an interruption (the run's scratch folder).
        """
        self._path = folder / _FILE

    def keep(self, progress: Progress) -> None:
        """Write the progress, in the place of what was written before."""
        if processes.rank():
            return
        from safetensors.torch import save_file

        tensors = {name: getattr(progress, name).contiguous().clone() for name in ("rows", "before", "best")}
        values = {name: value for name, value in vars(progress).items() if name not in tensors}
        values["sweeps"] = [asdict(sweep) for sweep in progress.sweeps]
        with replacing(self._path) as temporary:
            save_file(tensors, temporary, {"progress": json.dumps(values)})

    def read(self, device: torch.device) -> Progress | None:
        """Return the progress that was written last, with its rows on a device; None if there is none."""
        if not self._path.is_file():
            return None
        from safetensors import safe_open

        with safe_open(self._path, "pt") as file:
            values = json.loads(file.metadata()["progress"])
            tensors = {name: file.get_tensor(name).to(device) for name in ("rows", "before", "best")}
        values["sweeps"] = [
            Sweep(**{**sweep, "levels": [FittedLevel(**level) for level in sweep["levels"]]})
            for sweep in values["sweeps"]
        ]
        return Progress(**tensors, **values)
