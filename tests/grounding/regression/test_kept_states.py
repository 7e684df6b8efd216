"""Parts read as if they were one tensor, and states that outlive an interruption in files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from gti_cli.grounding.regression.kept_states import StackedStates, StateStore

CPU = torch.device("cpu")


def test_slices_are_those_of_the_whole() -> None:
    parts = [torch.randn(count, 3) for count in (4, 0, 2, 5)]
    whole = torch.cat(parts)
    stacked = StackedStates([StackedStates(parts[:2]), *parts[2:]])
    assert stacked.shape == whole.shape and len(stacked) == 11 and stacked.dtype == whole.dtype
    for first in range(12):
        for last in range(first, 14):
            assert torch.equal(stacked[first:last], whole[first:last])
    # What lies in one part is not copied.
    assert stacked[4:6].data_ptr() == parts[2].data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_files_hold_what_was_finished(tmp_path: Path, dtype: torch.dtype) -> None:
    states, numbers = torch.randn(5, 3).to(dtype), {"old": torch.randn(5).double(), "targets": torch.arange(5)}
    store = StateStore(tmp_path / "states", CPU)
    store.make("half", 5, 3, dtype).copy_(states)
    room = store.make("whole", 5, 3, dtype)
    room.copy_(states)
    store.finish("whole", room, numbers)
    again = StateStore(tmp_path / "states", CPU)
    assert again.find("half", dtype) is None and again.find("other", dtype) is None
    found = again.find("whole", dtype)
    assert found is not None and torch.equal(found[0], states)
    assert found[1].keys() == numbers.keys() and all(torch.equal(found[1][name], numbers[name]) for name in numbers)


def test_memory_leaves_no_file_and_finds_nothing() -> None:
    store = StateStore(None, CPU)
    room = store.make("any", 2, 3, torch.float32)
    store.finish("any", room, {"old": torch.zeros(2)})
    assert room.shape == (2, 3) and store.find("any", torch.float32) is None


def test_a_full_disk_is_an_error_before_anything_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A write into a mapped file for which the disk has no room ends the process.
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    store = StateStore(tmp_path / "states", CPU)
    with pytest.raises(OSError, match=r"left on device.*fit\.states") as caught:
        store.make("fit", 4, 3, torch.float32)
    assert caught.value.errno == errno.ENOSPC
    assert list((tmp_path / "states").iterdir()) == []
    monkeypatch.delattr(os, "posix_fallocate")  # as on macOS
    assert store.make("fit", 4, 3, torch.float32).tolist() == [[0.0] * 3] * 4
    assert (tmp_path / "states" / "fit.states").stat().st_size == 4 * 3 * 4
