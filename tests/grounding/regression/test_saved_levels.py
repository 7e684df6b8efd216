"""Progress that is read back is the one that was kept, to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gti_cli.grounding.regression.saved_levels import FittedLevel, Progress, SavedLevels

CPU = torch.device("cpu")


def test_what_is_read_is_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(4, 3).double()
    level = FittedLevel([0], 4, 10, 0.1, 1 / 3, 0.1 + 0.2, None, [(10.0, 2 / 3), (3.0, None)], 5, 7, 1e-3, True)
    progress = Progress(rows, [level, level])
    saved = SavedLevels(tmp_path)
    assert saved.read(CPU) is None
    monkeypatch.setenv("RANK", "1")
    saved.keep(progress)
    assert saved.read(CPU) is None  # the first process writes
    monkeypatch.setenv("RANK", "0")
    saved.keep(progress)
    found = SavedLevels(tmp_path).read(CPU)
    assert found is not None and torch.equal(found.rows, rows) and found.levels == progress.levels
    elsewhere = saved.read(torch.device("meta"))
    assert elsewhere is not None and elsewhere.rows.device.type == "meta"
