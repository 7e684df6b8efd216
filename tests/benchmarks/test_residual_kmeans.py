"""Residual k-means on 1,000,000 x 384, 4 x 256, compared with ``faiss.ResidualQuantizer`` (beam 1, same sample).

Run with ``pytest tests/benchmarks/test_residual_kmeans.py --run-benchmarks -s``. Each side runs in a separate process
on all cores. Peak memory is that of the whole process, with libraries and data.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

N, D, SIZES, SAMPLE = 1_000_000, 384, [256] * 4, 1 << 16
GB = 1e9


def blocks(seed: int = 0, size: int = 1 << 14) -> Any:
    """Make unit vectors around 5,000 centres of different weight, like the texts of a catalogue."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((5000, D), dtype=np.float32)
    weights = rng.pareto(1.5, 5000) + 0.1
    weights /= weights.sum()
    for start in range(0, N, size):
        count = min(size, N - start)
        noise = rng.standard_normal((count, D), dtype=np.float32)
        rows = centres[rng.choice(5000, count, p=weights)] + np.float32(0.8) * noise
        yield rows / np.linalg.norm(rows, axis=1, keepdims=True)


def in_memory() -> np.ndarray:
    found = np.empty((N, D), dtype=np.float32)
    start = 0
    for block in blocks():
        found[start : start + len(block)] = block
        start += len(block)
    return found


def error(vectors: Any, codes: np.ndarray, codebooks: list[np.ndarray]) -> float:
    from gti_cli.semantic_ids.quantizers import residual_codes

    total = 0.0
    for part in residual_codes.blocks(len(vectors)):
        rest = vectors[part] - residual_codes.decode(codes[part], codebooks)
        total += float(np.einsum("nd,nd->", rest, rest, dtype=np.float64))
    return total / len(vectors)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GB


def ours(vectors: Any) -> dict[str, float]:
    from gti_cli import console
    from gti_cli.semantic_ids.options import KMeansOptions
    from gti_cli.semantic_ids.quantizers import kmeans, residual_codes

    console.configure(quiet=True)
    started = time.perf_counter()
    codebooks = kmeans.train(vectors, SIZES, 0, KMeansOptions(sample=SAMPLE))
    trained = time.perf_counter()
    codes = residual_codes.encode(vectors, codebooks)
    done = time.perf_counter()
    memory = peak()
    return {
        "train": trained - started,
        "encode": done - trained,
        "gb": memory,
        "error": error(vectors, codes, codebooks),
    }


def way_memory() -> dict[str, float]:
    return ours(in_memory())


def way_disk() -> dict[str, float]:
    from gti_cli.tensors.vector_file import VectorFile

    return ours(VectorFile(Path(sys.argv[2])))


def way_faiss() -> dict[str, float]:
    import faiss

    from gti_cli.semantic_ids.quantizers.kmeans import draw_sample

    vectors = in_memory()
    quantizer = faiss.ResidualQuantizer(D, len(SIZES), 8)
    quantizer.max_beam_size = 1
    quantizer.cp.max_points_per_centroid = SAMPLE  # by default it would train on a part of the sample
    started = time.perf_counter()
    quantizer.train(draw_sample(vectors, SAMPLE, 0))
    trained = time.perf_counter()
    codes = quantizer.compute_codes(vectors)
    done = time.perf_counter()
    memory = peak()
    books = faiss.vector_to_array(quantizer.codebooks).reshape(len(SIZES), 256, D)
    return {
        "train": trained - started,
        "encode": done - trained,
        "gb": memory,
        "error": error(vectors, codes.astype(np.int32), list(books)),
    }


def run(way: str, *more: str) -> dict[str, float]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count()), "OPENBLAS_NUM_THREADS": str(os.cpu_count())}
    done = subprocess.run([sys.executable, __file__, way, *more], env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    print(
        f"  {way:8} train {found['train']:6.1f} s, encode {found['encode']:6.1f} s, {found['gb']:5.2f} GB, "
        f"error {found['error']:.5f}"
    )
    return found


def test_beside_faiss() -> None:
    print(f"\n{N:,} x {D}, 4 x 256, sample {SAMPLE:,}, {os.cpu_count()} cores")
    mine, theirs = run("memory"), run("faiss")
    ratio = (theirs["train"] + theirs["encode"]) / (mine["train"] + mine["encode"])
    print(f"  faiss takes {ratio:.2f} x the time")
    assert ratio >= 1
    assert mine["error"] <= theirs["error"]
    assert mine["gb"] <= 1.2 * 4 * N * D / GB + 1


def test_from_disk(tmp_path: Path) -> None:
    from gti_cli.tensors.vector_file import write_vectors

    print()
    write_vectors(tmp_path / "vectors.safetensors", (N, D), blocks())
    assert run("disk", str(tmp_path / "vectors.safetensors"))["gb"] < 2


def test_the_whole_stage_from_parquet(tmp_path: Path) -> None:
    """``gti build-ids`` with collisions and report, on a table with a column of embeddings."""
    schema = pa.schema([("item_id", pa.string()), ("embedding", pa.list_(pa.float32(), D))])
    with pq.ParquetWriter(tmp_path / "items.parquet", schema) as writer:
        start = 0
        for block in blocks():
            ids = [f"item-{n}" for n in range(start, start + len(block))]
            column = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), D)
            writer.write_table(pa.table({"item_id": ids, "embedding": column}))
            start += len(block)
    code = (
        "import resource, sys; from gti_cli.app import run; "
        "assert run(sys.argv[1:]) == 0; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, "build-ids", str(tmp_path / "items.parquet"), "-w", str(tmp_path / "ws"), "-q"],
        env={**os.environ, "OMP_NUM_THREADS": str(os.cpu_count())},
        stdout=subprocess.PIPE,
        check=True,
    )
    memory = float(done.stdout.decode().split()[-1])
    print(f"\n  gti build-ids, {N:,} items from Parquet: {time.perf_counter() - started:.0f} s, {memory:.2f} GB")
    assert memory < 2


if __name__ == "__main__":
    print(json.dumps({"memory": way_memory, "disk": way_disk, "faiss": way_faiss}[sys.argv[1]]()))
