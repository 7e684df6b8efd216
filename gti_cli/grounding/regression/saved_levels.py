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
    """What the regressions of one level did.

    Attributes:
        places: Places of the answers whose tokens they fitted.
        rows: Number of rows fitted.
        positions: Number of positions, those of other places included.
        strength: Weight of the ridge whose rows stayed, in units of `Coordinates.typical_curvature` (None: no strength
            lowered the held-out loss, so the rows stayed as they start).
        ridge: The same weight in units of the objective; 0 if there is none.
        loss: Mean loss of the positions behind the rows that stayed, in nats, without the ridge.
        held_out_loss: The same for held-out answers (None: nothing is held out).
        tried: Each strength with the held-out loss of its rows, in the order in which they were solved.
        steps: Steps of the solver, over all strengths.
        evaluations: Passes over the hidden states that these took.
        gradient: Norm of the objective's gradient behind the rows that stayed, as a share of the start's without ridge.
        converged: Whether the solver reached the tolerance there.
    """

    places: list[int]
    rows: int
    positions: int
    strength: float | None
    ridge: float
    loss: float
    held_out_loss: float | None
    tried: list[tuple[float, float | None]]
    steps: int
    evaluations: int
    gradient: float
    converged: bool


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        rows: The rows as they are, a matrix of `head_rows`.
        levels: The levels that are fitted.
    """

    rows: torch.Tensor
    levels: list[FittedLevel] = field(default_factory=list)


class SavedLevels:
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

        levels = json.dumps([asdict(level) for level in progress.levels])
        with replacing(self._path) as temporary:
            save_file({"rows": progress.rows.contiguous()}, temporary, {"levels": levels})

    def read(self, device: torch.device) -> Progress | None:
        """Return the progress that was written last, with its rows on a device; None if there is none."""
        if not self._path.is_file():
            return None
        from safetensors import safe_open

        with safe_open(self._path, "pt") as file:
            levels = json.loads(file.metadata()["levels"])
            rows = file.get_tensor("rows").to(device)
        for level in levels:
            level["tried"] = [tuple(pair) for pair in level["tried"]]  # JSON knows lists alone
        return Progress(rows, [FittedLevel(**level) for level in levels])
