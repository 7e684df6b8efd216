"""The best state on disk: what trains is written and restored, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gti_cli.training.callbacks.best import BestState


def make_module() -> torch.nn.Module:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    module[0].requires_grad_(False)
    return module


def fill(module: torch.nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)


def values_of(module: torch.nn.Module) -> set[float]:
    return {value for parameter in module.parameters() for value in parameter.detach().ravel().tolist()}


def test_the_last_state_kept_comes_back(tmp_path: Path) -> None:
    module = make_module()
    best = BestState(module, tmp_path)
    for value in (1.0, 2.0):
        fill(module, value)
        best.keep()
    fill(module, 3.0)
    trained = module[1].weight
    best.restore()
    assert module[1].weight is trained  # in place: an optimizer still holds the parameter
    assert values_of(module[1]) == {2.0}
    # A frozen parameter is neither written nor restored.
    assert values_of(module[0]) == {3.0}
    assert set(load_file(tmp_path / "best.safetensors")) == {"1.weight", "1.bias"}


def test_a_resumed_run_finds_the_state_of_the_part_before_it(tmp_path: Path) -> None:
    before, after = make_module(), make_module()
    fill(before, 5.0)
    BestState(before, tmp_path).keep()
    BestState(after, tmp_path).restore()
    assert all(torch.equal(a, b) for a, b in zip(before[1].parameters(), after[1].parameters(), strict=True))


def test_an_interrupted_write_leaves_the_state_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = make_module()
    best = BestState(module, tmp_path)
    fill(module, 1.0)
    best.keep()
    fill(module, 2.0)

    def breaks(state: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", breaks)
    with pytest.raises(KeyboardInterrupt):
        best.keep()
    best.restore()
    assert float(module[1].bias[0].detach()) == 1.0


def test_the_first_process_writes_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[bool] = []
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.distributed, "barrier", lambda: waited.append(True))
    module = make_module()
    BestState(module, tmp_path).keep()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("RANK", "0")
    BestState(module, tmp_path).keep()
    monkeypatch.setenv("RANK", "1")
    BestState(module, tmp_path).restore()
    assert waited == [True]
