"""Examples in an Arrow file, against the list of them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gti_cli.prompts.examples import Example
from gti_cli.training.batches import stored_examples
from gti_cli.training.batches.history_examples import HistoryExample
from gti_cli.training.batches.stored_examples import (
    ORDINARY,
    Concatenated,
    Form,
    StoredExamples,
    comfortable_bytes,
    example_lengths,
    how_kept,
    in_parts,
    keep_examples,
    list_bytes,
)

GIB = 1 << 30


def ordinary(count: int) -> list[Example]:
    """Examples of different lengths, an empty prompt and large token ids among them."""
    rng = np.random.default_rng(0)
    return [
        Example(rng.integers(1 << 20, size=n % 5).tolist(), rng.integers(9, size=1 + n % 3).tolist())
        for n in range(count)
    ]


def histories(count: int) -> list[HistoryExample]:
    rng = np.random.default_rng(1)
    return [HistoryExample(tuple(rng.integers(500, size=2 + n % 7).tolist()), 1 + n % 2, n % 3) for n in range(count)]


def keep(examples: Sequence[Any], path: Path, form: Form[Any]) -> Sequence[Any]:
    return keep_examples(in_parts(examples), len(examples), path, form)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """No list is small enough, and a part has four examples."""
    monkeypatch.setattr(stored_examples, "SHARE_OF_MEMORY", 0.0)
    monkeypatch.setattr(stored_examples, "PART", 4)


@pytest.mark.parametrize("examples", [ordinary(11), ordinary(8)])
def test_a_file_gives_the_examples_of_the_list(examples: list[Any], tmp_path: Path, small: None) -> None:
    kept = keep(examples, tmp_path / "work" / "examples.arrow", ORDINARY)
    assert isinstance(kept, StoredExamples) and how_kept(kept) == "memory-mapped Arrow"
    assert list(kept) == examples and [kept[n] for n in range(len(kept))] == examples
    assert kept[-1] == examples[-1] and kept[2:9:3] == examples[2:9:3] and kept[-3:] == examples[-3:]
    for beyond in (len(examples), -len(examples) - 1):
        with pytest.raises(IndexError):
            kept[beyond]
    # The numbers are Python's, as in the list: a token id that is numpy's would not pass into JSON.
    assert {type(number) for run in ORDINARY.pack(kept[1]) for number in run} == {int}
    (tmp_path / "work" / "examples.arrow").unlink()  # the stage's folder may be removed while the file is open
    assert list(kept) == examples


def test_lengths_are_those_of_the_examples(tmp_path: Path, small: None) -> None:
    examples = ordinary(11)
    kept = keep(examples, tmp_path / "examples.arrow", ORDINARY)
    assert example_lengths(kept) == example_lengths(examples) == [len(example) for example in examples]


def test_a_list_that_fits_stays_in_memory_and_writes_nothing(tmp_path: Path) -> None:
    examples = ordinary(9)
    kept = keep(examples, tmp_path / "work" / "examples.arrow", ORDINARY)
    assert kept == examples and how_kept(kept) == "memory" and not list(tmp_path.iterdir())
    assert keep([], tmp_path / "none.arrow", ORDINARY) == []


def test_the_size_of_all_is_judged_by_the_first_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = ordinary(12)
    monkeypatch.setattr(stored_examples, "PART", 4)
    expected = list_bytes(examples[:4], ORDINARY) * 3
    monkeypatch.setattr(stored_examples, "comfortable_bytes", lambda: expected)
    assert isinstance(keep(examples, tmp_path / "a.arrow", ORDINARY), list)
    monkeypatch.setattr(stored_examples, "comfortable_bytes", lambda: expected - 1)
    assert isinstance(keep(examples, tmp_path / "a.arrow", ORDINARY), StoredExamples)
    assert "12 examples would take 0.0 GB of memory: they are kept in a temporary file" in capsys.readouterr().err


def test_parts_are_made_one_at_a_time(tmp_path: Path, small: None) -> None:
    """No second part is encoded before the first is written."""
    path, made = tmp_path / "examples.arrow", []

    def parts() -> Iterator[list[Example]]:
        for number, part in enumerate(in_parts(ordinary(12))):
            made.append((tmp_path / ".examples.arrow.part").exists())
            yield list(part)
            assert number < 3

    keep_examples(parts(), 12, path, ORDINARY)
    assert made == [False, True, True] and path.is_file() and not (tmp_path / ".examples.arrow.part").exists()


def test_the_estimate_is_near_what_python_objects_take() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(300, 1 << 17, size=40) for _ in range(2000)]
    tracemalloc.start()
    examples = [Example(array[:36].tolist(), array[36:].tolist()) for array in arrays]
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 0.7 < list_bytes(examples, ORDINARY) / taken < 1.4


@pytest.mark.parametrize(
    ("files", "processes", "expected"),
    [
        ({}, "1", 8 * GIB),
        ({}, "4", 2 * GIB),
        ({"max": "max", "current": "5"}, "1", 8 * GIB),
        ({"max": str(6 * GIB), "current": str(2 * GIB)}, "2", GIB * 2),
        ({"max": str(GIB), "current": str(2 * GIB)}, "1", 0),
        ({"max": "no number", "current": "5"}, "1", 8 * GIB),
    ],
)
def test_the_memory_of_the_container_and_of_the_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], processes: str, expected: int
) -> None:
    import psutil

    for name, text in files.items():
        (tmp_path / f"memory.{name}").write_text(text + "\n")
    monkeypatch.setattr(stored_examples, "_CGROUP", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 8 * GIB}))
    monkeypatch.setattr(stored_examples, "SHARE_OF_MEMORY", 1.0)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert comfortable_bytes() == expected


def test_joined_sequences_are_the_sequences_one_after_the_other(tmp_path: Path, small: None) -> None:
    parts = [histories(3), [], keep(ordinary(6), tmp_path / "examples.arrow", ORDINARY), ordinary(1)]
    everything: list[Any] = [example for part in parts for example in part]
    joined: Concatenated[Any] = Concatenated(parts)
    assert len(joined) == 10 and list(joined) == everything == [joined[n] for n in range(10)]
    assert joined[-1] == everything[-1] and joined[2:8:2] == everything[2:8:2]
    with pytest.raises(IndexError):
        joined[10]
    assert list(Concatenated([])) == []
