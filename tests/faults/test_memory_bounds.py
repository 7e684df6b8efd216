"""Tiny files that claim, or hold, far more than a machine has: refused within a bound of memory.

Each runs as a process of its own, which takes seconds: ``GTI_BAD_INPUT=all pytest tests/faults/test_memory_bounds.py``.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.skipif(
    not os.environ.get("GTI_BAD_INPUT"), reason="processes of several seconds: set GTI_BAD_INPUT=all"
)
_BOUND = 900  # MiB of the process at its peak; the imports of torch and scikit-learn take about half of it
_MEASURE = (
    "import re, sys; from pathlib import Path; from gti_cli.app import run; code = run(sys.argv[1:]);"
    # Not getrusage, whose peak may be that of the process which started this one.
    "print('PEAK', int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024, code)"
)


def zeros(path: Path, times: int = 1 << 11) -> None:
    """A gzip file that grows to 2 GiB."""
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(b"item_id,title\na,")
        for _ in range(times):
            file.write(b"x" * (1 << 20))


def nulls(path: Path) -> None:
    """A billion missing ids, in row groups of a hundred million."""
    table = pa.table({"item_id": pa.nulls(100_000_000)})
    with pq.ParquetWriter(path, table.schema) as writer:
        for _ in range(10):
            writer.write_table(table, row_group_size=100_000_000)


def one_text(path: Path) -> None:
    """Five million rows that share one text of 10,000 characters: 50 GB."""
    titles = pa.DictionaryArray.from_arrays(pa.array([0] * 5_000_000, pa.int32()), pa.array(["x" * 10_000]))
    ids = pa.DictionaryArray.from_arrays(pa.array([0] * 5_000_000, pa.int32()), pa.array(["a"]))
    pq.write_table(pa.table({"item_id": ids, "title": titles}), path, compression="zstd")


def one_long_text(path: Path) -> None:
    """A text of 280 MB, compressed."""
    pq.write_table(
        pa.table({"item_id": ["a"], "title": ["x" * 280_000_000]}), path, compression="zstd", use_dictionary=False
    )


def one_long_text_in_arrow(path: Path) -> None:
    """A thousand texts of 2 MB each, compressed: 2 GB."""
    table = pa.table({"item_id": ["a"] * 1000, "title": ["x" * 2_000_000] * 1000})
    with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table, max_chunksize=100)


FILES: dict[str, Callable[[Path], None]] = {
    "items.csv.gz": zeros, "items.jsonl.gz": zeros, "nulls.parquet": nulls, "shared.parquet": one_text,
    "long.parquet": one_long_text, "long.arrow": one_long_text_in_arrow,
}  # fmt: skip


def peak_of(folder: Path, *command: str) -> tuple[int, int, str]:
    """Run a command; returns its peak in MiB, its exit code and what it said."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *command], cwd=folder, capture_output=True, text=True, env=env, check=True
    )
    _, peak, code = done.stdout.split()[-3:]
    return int(peak), int(code), done.stderr


@pytest.mark.parametrize("name", FILES)
def test_tables(name: str, tmp_path: Path) -> None:
    FILES[name](tmp_path / name)
    assert (tmp_path / name).stat().st_size < 4 << 20
    peak, code, said = peak_of(tmp_path, "build-ids", name, "-w", "ws", "--device", "cpu")
    assert code == 2 and f"error: {name}" in said and "Traceback" not in said, said
    assert peak < _BOUND and not (tmp_path / "ws" / "semantic_ids.parquet").exists()


@pytest.mark.parametrize("claim", [2**42, 2**63])
def test_a_safetensors_header_of_terabytes(claim: int, tmp_path: Path) -> None:
    from tests.support.vocabulary import write_checkpoint

    base = write_checkpoint(tmp_path / "base")
    (base / "model.safetensors").write_bytes(claim.to_bytes(8, "little") + b"{}")
    (tmp_path / "words.csv").write_text("token\n<x>\n")
    peak, code, said = peak_of(
        tmp_path, "extend", "--model", "base", "--tokens", "words.csv", "-w", "ws", "--device", "cpu"
    )
    assert code == 2 and "safetensors" in said and "Traceback" not in said, said
    assert peak < _BOUND
