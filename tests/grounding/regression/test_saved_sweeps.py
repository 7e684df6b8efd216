"""Progress that is read back is the one that was kept, to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gti_cli.grounding.regression.saved_sweeps import FittedLevel, Progress, SavedSweeps, Sweep

CPU = torch.device("cpu")


def test_what_is_read_is_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, best = torch.randn(4, 3).double(), torch.randn(4, 3).double()
    level = FittedLevel([0], 4, 10, 0.1, 1 / 3, 5, 7, 1e-3, True)
    # One tensor stands for two things, as at the start of a run.
    progress = Progress(start, start, best, 0.1 + 0.2, 0, [Sweep(10.0, [level], 2 / 3), Sweep(3.0, [level])], 1)
    saved = SavedSweeps(tmp_path)
    assert saved.read(CPU) is None
    monkeypatch.setenv("RANK", "1")
    saved.keep(progress)
    assert saved.read(CPU) is None  # the first process writes
    monkeypatch.setenv("RANK", "0")
    saved.keep(progress)
    found = SavedSweeps(tmp_path).read(CPU)
    assert found is not None
    tensors = ("rows", "before", "best")
    assert all(torch.equal(getattr(found, name), getattr(progress, name)) for name in tensors)
    others = [{name: value for name, value in vars(each).items() if name not in tensors} for each in (found, progress)]
    assert others[0] == others[1]
