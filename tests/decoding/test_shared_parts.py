"""Parts that are stored are not worked on again; parts of other processes are waited for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gti_cli.decoding import shared_parts
from gti_cli.decoding.shared_parts import PartArrays, share_parts
from gti_cli.errors import InputError
from gti_cli.workspace import processes

PARTS = [[0, 3], [1], [2, 4, 5]]


def squares(parts: Sequence[Sequence[int]], folder: Path | None, names: Any = ("squares",)) -> tuple[Any, Any]:
    """The squares of all prompts' numbers by part, and the parts that were worked on."""
    worked: list[list[int]] = []

    def work(part: Sequence[int]) -> PartArrays:
        worked.append(list(part))
        return {name: np.square(part) for name in names}

    options: dict[str, Any] = {"names": names, "lengths": [len(part) for part in parts], "folder": folder}
    results, searched = share_parts(parts, work, **options, description="", unit="users")
    assert searched == sum(map(len, worked))
    return {number: arrays[names[0]].tolist() for number, arrays in results.items()}, worked


def test_only_what_is_missing_or_incomplete_is_worked_on(tmp_path: Path) -> None:
    expected = {0: [0, 9], 1: [1], 2: [4, 16, 25]}
    assert squares(PARTS, None) == (expected, PARTS)
    assert squares(PARTS, tmp_path / "new") == (expected, PARTS)
    assert squares(PARTS, tmp_path / "new") == (expected, [])
    _, second, third = sorted((tmp_path / "new").iterdir())
    second.write_bytes(third.read_bytes())  # as many rows as another part has
    third.write_bytes(third.read_bytes()[:50])
    assert squares(PARTS, tmp_path / "new") == (expected, PARTS[1:])
    assert squares(PARTS, tmp_path / "new", ("others",)) == (expected, PARTS)


def test_processes_share_the_parts_and_the_first_waits_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "world", lambda: 2)
    monkeypatch.setattr(shared_parts, "PATIENCE", 0.0)
    with pytest.raises(InputError, match="another process of this launch"):
        squares(PARTS, tmp_path)
    monkeypatch.setattr(processes, "rank", lambda: 1)
    assert squares(PARTS, tmp_path) == ({1: [1]}, PARTS[1:2])
    monkeypatch.setattr(processes, "rank", lambda: 0)
    assert squares(PARTS, tmp_path) == ({0: [0, 9], 1: [1], 2: [4, 16, 25]}, [])
