from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gti_cli.semantic_ids.quantizers import rqvae_resume, rqvae_training
from gti_cli.semantic_ids.quantizers.rqvae_resume import Progress
from tests.support.semantic_ids import TINY_RQVAE, clouds


def test_a_damaged_state_is_started_over(tmp_path: Path) -> None:
    (tmp_path / rqvae_resume.FILE).write_bytes(b"half a file")
    done = rqvae_training.train(clouds(50), [4], 0, torch.device("cpu"), TINY_RQVAE, scratch=tmp_path)
    assert len(done.history) == TINY_RQVAE.epochs


def make_parts(seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer, torch.Generator]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 3))
    return model, torch.optim.Adam(model.parameters(), lr=0.1), torch.Generator().manual_seed(seed)


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, order: torch.Generator) -> torch.Tensor:
    """One step that depends on weights, moments and both generators; returns all weights after it."""
    optimizer.zero_grad()
    model(torch.rand(8, 3, generator=order)).square().sum().backward()
    optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_the_next_step_after_a_resume_is_the_one_that_was_interrupted(tmp_path: Path) -> None:
    parts = make_parts(1)
    for _ in range(3):
        step(*parts)
    progress = Progress(3, [{"epoch": 1, "reconstruction": None}, {"epoch": 2, "reconstruction": 0.1 + 0.2}], 7)
    rqvae_resume.save(tmp_path, *parts, progress)
    expected = step(*parts)
    others = make_parts(2)
    assert rqvae_resume.load(tmp_path, *others) == progress
    assert torch.equal(step(*others), expected)
    assert [path.name for path in tmp_path.iterdir()] == [rqvae_resume.FILE]


def test_a_failed_save_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = make_parts(1)
    step(*parts)
    rqvae_resume.save(tmp_path, *parts, Progress(1, [], 0))

    def fail(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(rqvae_resume, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        rqvae_resume.save(tmp_path, *parts, Progress(2, [], 0))
    loaded = rqvae_resume.load(tmp_path, *parts)
    assert loaded is not None and loaded.epoch == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [None, b"", b"half a file"])
def test_no_file_or_a_damaged_one_changes_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / rqvae_resume.FILE).write_bytes(content)
    parts, same = make_parts(4), make_parts(4)
    assert rqvae_resume.load(tmp_path, *parts) is None
    torch.manual_seed(0)
    expected = step(*same)
    torch.manual_seed(0)
    assert torch.equal(step(*parts), expected)
