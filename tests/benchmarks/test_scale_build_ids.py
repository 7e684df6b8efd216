"""`gti build-ids` on large catalogues: 100,000 and 1,000,000 made-up titles, lsa, 4 x 256 codes, collisions, report.

Run with ``pytest tests/benchmarks/test_scale_build_ids.py --run-benchmarks -s``. The row of 1,000,000 items takes
minutes and runs only where ``GTI_SCALE=1`` is set; ``GTI_SCALE=10`` adds 10,000,000. Each row runs the command in a
process of its own, with one thread. Times are processor seconds of that process; its peak memory is of the whole
process, libraries and data included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.made_titles import write_titles

# Processor seconds and GB. Up to 100,000 items LSA is exact: it takes more for each item.
BOUNDS = {100_000: (200.0, 2.5), 1_000_000: (360.0, 2.5), 10_000_000: (3600.0, 2.0)}
ASKED = int(os.environ.get("GTI_SCALE", "0")) * 1_000_000

# The stages are timed by wrapping the functions that `build` calls; a stage may contain others.
CHILD = """
import functools, json, resource, sys, time
from importlib import import_module
seconds = {}
def timed(module, name):
    place = import_module("gti_cli." + module)
    inner = getattr(place, name)
    @functools.wraps(inner)
    def outer(*values, **more):
        started = time.process_time()
        try:
            return inner(*values, **more)
        finally:
            seconds[name] = seconds.get(name, 0.0) + time.process_time() - started
    setattr(place, name, outer)
from gti_cli.app import run
for name in ("make_plan", "encode", "first_equal_rows", "train_quantizer", "resolve_collisions"):
    timed("semantic_ids.build", name)
timed("semantic_ids.quality.report", "measure")
code = run(["build-ids", *sys.argv[1:], "-q"])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
print(json.dumps({"code": code, "all": time.process_time(), "GB": peak, **seconds}))
"""


@pytest.mark.parametrize("items", sorted(BOUNDS))
def test_titles(tmp_path: Path, items: int) -> None:
    if items > max(ASKED, 100_000):
        pytest.skip(f"{items:,} items take minutes: set GTI_SCALE={items // 1_000_000}")
    table = write_titles(tmp_path / "items.parquet", items)
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(table), "-w", str(tmp_path / "ws")],
        env={**os.environ, **one_thread},
        stdout=subprocess.PIPE,
        check=True,
    )
    measured: dict[str, float] = json.loads(done.stdout.decode().splitlines()[-1])
    print(f"\n{items:,} items: " + ", ".join(f"{name} {value:.2f}" for name, value in measured.items()))
    manifest = json.loads((tmp_path / "ws" / "semantic_ids.json").read_text("utf-8"))
    assert measured["code"] == 0 and manifest["counts"]["items"] == items
    assert manifest["metrics"]["collisions_after"]["rate"] == 0
    assert ("lsa_sample" in manifest["details"]) == (items > 100_000)
    seconds, gigabytes = BOUNDS[items]
    assert measured["all"] < seconds
    assert measured["GB"] < gigabytes
