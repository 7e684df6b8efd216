"""Parts read as if they were one tensor, and states that outlive an interruption in files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from gti_cli.grounding.regression import kept_states as module
from gti_cli.grounding.regression.kept_states import StackedStates, StateStore, room

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
    assert len(stacked.parts) == 4
    alone = StackedStates([parts[0].double()])
    assert (alone.shape, alone.dtype, alone[4:9].shape) == ((4, 3), torch.float64, (0, 3))


def test_a_quarter_of_a_gpus_free_memory_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    most, gpu = {"cpu": 100, "cuda": 500}, torch.device("cuda", 1)
    for free, expected in ((2001, 500), (1999, 499), (80_000, 500)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: {gpu: (free, 90_000)}[device])
        found = room(most, gpu)
        assert found == expected and isinstance(found, int)
    assert room(most, CPU) == room(most, torch.device("mps")) == room({"cpu": 100}, torch.device("xpu")) == 100


def test_states_are_in_memory_on_the_device_and_files_are_read_by_the_cpu(tmp_path: Path) -> None:
    device = torch.device("meta")
    states = StateStore(None, device).make("any", 2, 3, torch.bfloat16)
    assert (states.device, states.dtype) == (device, torch.bfloat16)
    store = StateStore(tmp_path / "run" / "states", device)
    assert store.device == store.make("any", 2, 3, torch.float32).device == CPU


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
    # A write into a mapped file for which the disk has no room ends the process. So each byte is there beforehand.
    size = (1 << 22) + 5
    module._reserve(tmp_path / "room", size)
    assert (tmp_path / "room").stat().st_size == size

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    store = StateStore(tmp_path / "states", CPU)
    with pytest.raises(OSError, match=r"left on device.*fit\.states") as caught:
        store.make("fit", 4, 3, torch.float32)
    assert caught.value.errno == errno.ENOSPC
    assert list((tmp_path / "states").iterdir()) == []
    monkeypatch.delattr(os, "posix_fallocate")  # as on macOS
    module._reserve(tmp_path / "room", size)
    assert (tmp_path / "room").stat().st_size == size
    assert store.make("fit", 4, 3, torch.float32).tolist() == [[0.0] * 3] * 4
    assert (tmp_path / "states" / "fit.states").stat().st_size == 4 * 3 * 4


def test_a_disk_without_room_for_another_name_is_that_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="left on device") as caught:
        module._reserve(tmp_path / "room", 4)
    assert caught.value.errno == errno.ENOSPC
