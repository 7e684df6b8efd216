"""The script for a machine with a GPU, on small models and a CPU: it is ready, and its peers compute the same.

Run with ``pytest tests/benchmarks/test_gpu.py --run-benchmarks -s``; about two minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_part_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "tests/benchmarks/gpu.sh", "--tiny", "--device", "cpu"],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable, "OUT": str(tmp_path), "SCALE": "5"},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert {row["part"] for row in rows} == {"constraint", "grounding", "fine-tuning", "evaluation"}
    assert rows[-1]["share"] == 1  # the lists are those of generate
