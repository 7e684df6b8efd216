"""Progress that is read back is the one that was kept, to the last bit, and a fit goes on from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gti_cli.grounding.regression.saved_levels import FittedLevel, Progress, SavedLevels
from gti_cli.grounding.regression.sources import Source
from gti_cli.prompts.examples import Example
from tests.support.grounding import model_of
from tests.support.regression import fit_all_levels, to_tokens

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


def test_each_level_can_be_the_first_after_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = to_tokens(10)[0]
    given: dict[str, Any] = {"train": examples, "held_out": None, "strengths": (1.0,), "tolerance": 0.1}
    kept: list[Progress] = []
    keep = SavedLevels.keep
    monkeypatch.setattr(SavedLevels, "keep", lambda self, progress: kept.append(progress) or keep(self, progress))
    whole = model_of("qwen3")
    fit_all_levels(whole, **given, saved=SavedLevels(tmp_path))
    assert [len(progress.levels) for progress in kept] == [1, 2, 3]
    asked: list[list[int]] = []
    original = Source.positions
    monkeypatch.setattr(
        Source, "positions", lambda self, places, *more: asked.append(list(places)) or original(self, places, *more)
    )
    # The places behind rows that were fitted are computed again, each behind the rows that it had.
    for progress, expected in zip(kept[:], ([[0, 1, 2, 3], [1], [2]], [[0, 1, 2, 3], [1], [2]], []), strict=True):
        keep(SavedLevels(tmp_path), progress)
        model = model_of("qwen3")
        asked.clear()
        found = fit_all_levels(model, **given, saved=SavedLevels(tmp_path), resuming=True)
        assert asked == expected and found.levels == kept[2].levels
        assert torch.equal(model.get_input_embeddings().weight, whole.get_input_embeddings().weight)
    # What is kept is read only by a run that resumes.
    fit_all_levels(model_of("qwen3"), **given, saved=SavedLevels(tmp_path))
    assert asked == [[0, 1, 2, 3], [1], [2]]


@pytest.mark.parametrize(("tied", "in_files"), [(True, False), (True, True), (False, False)])
def test_an_interrupted_fit_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tied: bool, in_files: bool
) -> None:
    examples = [Example(example.prompt, [*example.answer[:2], 2]) for example in to_tokens(12)[0]]
    folder = tmp_path / "states" if in_files else None
    given: dict[str, Any] = {"train": examples, "held_out": examples, "strengths": (3.0, 1.0), "tolerance": 1e-2}
    whole = model_of("qwen3", tied)
    expected = fit_all_levels(whole, **given)
    count = 2 if tied else 1
    keep, kept = SavedLevels.keep, []

    def stop(self: SavedLevels, progress: Progress) -> None:
        """Keep, and stop at each level's end once."""
        keep(self, progress)
        kept.append(len(progress.levels))
        raise KeyboardInterrupt

    monkeypatch.setattr(SavedLevels, "keep", stop)
    progress = None
    while progress is None:
        model = model_of("qwen3", tied)
        try:
            progress = fit_all_levels(model, **given, saved=SavedLevels(tmp_path), folder=folder, resuming=True)
        except KeyboardInterrupt:
            continue
    # The last attempt had nothing to do, and found the rows.
    assert kept == [1, 2][:count] and progress.levels == expected.levels
    for mine, theirs in zip(model.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
