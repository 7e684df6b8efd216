"""The encoding of several processes that share the work, against that of one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gti_cli.semantic_ids.encoders.encoding_store import OnDisk
from tests.support.launch import preloaded_processes
from tests.support.semantic_ids import make_encoder, make_items


def _process(items: str, root: str, encoder: str, rank: int, world: int, results: Any) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world))
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="5", OMP_NUM_THREADS="1")
    from gti_cli.semantic_ids.build import build_ids
    from gti_cli.semantic_ids.encoders import text_model
    from gti_cli.semantic_ids.options import EncoderOptions

    encoded = []
    real = text_model.TextModel.encode

    def counted(self: Any, texts: list[str]) -> Any:
        encoded.extend(texts)
        return real(self, texts)

    text_model.TextModel.encode = counted  # type: ignore[method-assign]
    build_ids(
        items,
        root,
        encoder=encoder,
        levels=3,
        codes=8,
        text_model=EncoderOptions(batch_tokens=64),
        device="cpu",
    )
    results.put((rank, len(encoded)))


def _build(items: Path, root: Path, encoder: Path, world: int) -> list[int]:
    """How many texts each process encoded."""
    context = preloaded_processes()
    results = context.Queue()
    started = [
        context.Process(target=_process, args=(str(items), str(root), str(encoder), rank, world, results))
        for rank in reversed(range(world))
    ]
    for process in started:
        process.start()
    counts = sorted(results.get(timeout=120) for _ in started)
    for process in started:
        process.join()
    return [count for _, count in counts]


@pytest.mark.slow
def test_two_processes_share_the_texts_and_write_the_files_of_one(tmp_path: Path) -> None:
    items, encoder = make_items(tmp_path), make_encoder(tmp_path)
    (alone,) = _build(items, tmp_path / "one", encoder, 1)
    first, second = _build(items, tmp_path / "two", encoder, 2)
    assert first + second == alone and min(first, second) > 0.3 * alone
    for name in ("semantic_ids.parquet", "embeddings.safetensors", "codebooks.safetensors", "items.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_batch_counts_once_saved_and_for_its_request_only(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    store = OnDisk(tmp_path, "a" * 20)
    store.open(6, 3)
    store.put(1, [4, 0], rows[[4, 0]])
    again = OnDisk(tmp_path, "a" * 20)
    again.open(6, 3)
    assert not again.has(1)  # not saved yet: a kill now would lose it, and it is encoded again
    store._save()
    again.open(6, 3)
    assert [again.has(batch) for batch in range(3)] == [False, True, False]
    other = OnDisk(tmp_path, "b" * 20)
    other.open(6, 3)
    assert not any(other.has(batch) for batch in range(3))
    again.put(0, [1, 2], rows[[1, 2]])
    again.put(2, [3, 5], rows[[3, 5]])
    again.finish()
    np.testing.assert_array_equal(again.vectors()[:], rows)
