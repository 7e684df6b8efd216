"""The levels that a run has fitted, and the rows after them, on disk for a run that goes on after an interruption."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gti_cli.grounding.regression.head_rows import head_rows, put_head_rows
from gti_cli.grounding.regression.path import PathPoint
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.workspace import processes
from gti_cli.workspace.files import replacing

_ROWS = "regression-rows.safetensors"


@dataclass(frozen=True)
class FittedLevel:
    """What one regression did.

    Attributes:
        places: Places of the answers whose tokens it fitted.
        rows: Number of rows fitted.
        positions: Number of positions, those of other levels included.
        held_out_positions: Number of positions that chose the ridge.
        best: Number of the point that was kept.
        points: The path of solutions.
    """

    places: list[int]
    rows: int
    positions: int
    held_out_positions: int
    best: int
    points: list[PathPoint]


class SavedLevels:
    """One file with the rows and what was fitted; the first process writes for all."""

    def __init__(self, folder: Path, resuming: bool) -> None:
        """Find the file of an interrupted run.

        Args:
            folder: Folder that all processes share and that outlives an interruption (the run's scratch folder).
            resuming: Whether to go on from what is there.
        """
        self._path = folder / _ROWS
        self._note: dict[str, str] = {}
        if resuming and self._path.is_file():
            from safetensors import safe_open

            with safe_open(self._path, "pt") as file:
                self._note = file.metadata()

    def steps(self) -> int:
        """Number of steps of the run that need not be taken again."""
        return int(self._note.get("steps", 0))

    def keep(self, rows: NewRows, fitted: Sequence[FittedLevel], steps: int) -> None:
        """Write the rows as they are now, in the place of those written before.

        Args:
            rows: The rows of the model.
            fitted: The levels so far.
            steps: What `steps` returns after an interruption.
        """
        if processes.rank():
            return
        from safetensors.torch import save_file

        note = {"steps": str(steps), "fitted": json.dumps([asdict(level) for level in fitted])}
        with replacing(self._path) as temporary:
            save_file({"rows": head_rows(rows).contiguous()}, temporary, note)

    def restore(self, rows: NewRows) -> list[FittedLevel]:
        """Put the rows that an interrupted run has written into ``rows``, and return its levels."""
        from safetensors.torch import load_file

        put_head_rows(rows, load_file(self._path)["rows"].to(rows.ids.device))
        rows.sync()
        return [
            FittedLevel(**{**level, "points": [PathPoint(**point) for point in level["points"]]})
            for level in json.loads(self._note["fitted"])
        ]
