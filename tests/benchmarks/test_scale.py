"""A hundred times the data on one core: seconds and memory of what reads interactions, at sizes that grow.

Each piece of work is a process of its own; its seconds are processor time (the machine may be shared), its memory the
peak of the process, imports included. Run with ``pytest tests/benchmarks/test_scale.py --run-benchmarks -s``. The
largest size takes half an hour and is left out unless ``GTI_SCALE_LARGEST=1``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from gti_cli.workspace import Workspace
from tests.support.made_shop import write_catalogue, write_shop

LM = Path(__file__).parents[2] / "sample_data" / "lm"
ONE_CORE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True)
class Size:
    """A shop."""

    interactions: int
    users: int
    items: int


SMALL, MIDDLE, LARGE = Size(100_000, 5_000, 5_000), Size(1_000_000, 50_000, 50_000), Size(4_000_000, 200_000, 200_000)
LARGEST = Size(20_000_000, 1_000_000, 200_000)
SIZES = [
    SMALL,
    MIDDLE,
    LARGE,
    pytest.param(
        LARGEST, marks=pytest.mark.skipif(not os.environ.get("GTI_SCALE_LARGEST"), reason="GTI_SCALE_LARGEST is unset")
    ),
]

READ = """
import sys
from gti_cli.tables import read_semantic_ids
from gti_cli.tables.histories import read_interactions, split
row_of = read_semantic_ids(sys.argv[2]).row_of()
splits = split(read_interactions(sys.argv[1], row_of))
assert splits.counts["test_targets"] > 0 and "torch" not in sys.modules
"""
TUNE = (
    READ.replace(' and "torch" not in sys.modules', "")
    + """
from gti_cli.baselines.item_knn_tuning import tune
print(tune(splits.train, splits.valid, row_of, filter_seen=False))
"""
)


# The peak memory of a process counts that of its parent, until then: this one is far smaller than pytest.
SMALL_PARENT = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(json.dumps([status, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


@dataclass(frozen=True)
class Usage:
    """What a process took."""

    seconds: float
    gigabytes: float


def measure(*line: str) -> Usage:
    """Run Python with these arguments on one thread."""
    whole = [sys.executable, "-S", "-c", SMALL_PARENT, sys.executable, *line]
    told = subprocess.run(whole, env={**os.environ, **ONE_CORE}, stdout=subprocess.PIPE, text=True, check=True)
    status, seconds, kilobytes = json.loads(told.stdout)
    assert status == 0, line
    return Usage(seconds, kilobytes / 1e6)


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shops")


def shop(folder: Path, size: Size) -> Path:
    path = folder / f"{size.interactions}.parquet"
    return path if path.exists() else write_shop(path, size.interactions, size.users, size.items)


def workspace(folder: Path, items: int) -> Path:
    """A workspace with semantic IDs, and a checkpoint that has their tokens."""
    root = folder / f"workspace-{items}"
    if not root.exists():
        write_catalogue(Workspace(root), items)
        line = ["-m", "gti_cli", "extend", "--workspace", str(root), "--model", str(LM)]
        measure(*line, "--init", "mean", "--no-effect", "--device", "cpu")
    return root


def report(name: str, size: Size | int, used: Usage, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{name}, {size}: {used.seconds:.1f} s, {used.gigabytes:.2f} GB", flush=True)


@pytest.mark.parametrize("size", SIZES)
def test_read_and_split(size: Size, shops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = workspace(shops, size.items) / "semantic_ids.parquet"
    used = measure("-c", READ, str(shop(shops, size)), str(ids))
    report("read and split", size, used, capsys)
    assert used.seconds < (25 if size == LARGEST else 5)
    assert used.gigabytes < (2 if size == LARGEST else 0.6)


@pytest.mark.parametrize("size", SIZES)
def test_tune_item_knn(size: Size, shops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = workspace(shops, size.items) / "semantic_ids.parquet"
    used = measure("-c", TUNE, str(shop(shops, size)), str(ids))
    report("item-knn tuned on 4,000 targets", size, used, capsys)
    assert used.seconds < 300 and used.gigabytes < 4


@pytest.mark.parametrize("size", SIZES)
def test_one_step_of_finetuning(size: Size, shops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = workspace(shops, size.items)
    line = ["-m", "gti_cli", "finetune", "--workspace", str(root), "--interactions", str(shop(shops, size))]
    # The validation loss takes the same time with any table, ten seconds for the 2,000 targets of the default.
    line += ["--from", "extended", "--max-steps", "1", "--valid-sample", "64", "--device", "cpu", "--force"]
    used = measure(*line)
    report("finetune --max-steps 1", size, used, capsys)
    assert used.seconds < (60 if size == LARGEST else 15)
    assert used.gigabytes < (4 if size == LARGEST else 1)


def test_start_of_an_evaluation_of_a_million_items(shops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = 1_000_000
    root, table = workspace(shops, items), write_shop(shops / "few.parquet", 100_000, 5_000, items)
    line = ["-m", "gti_cli", "evaluate", "extended", "--workspace", str(root), "--interactions", str(table)]
    # With 32 users nearly all of the time is the start.
    used = measure(*line, "--sample", "32", "--search", "beam", "--baselines", "popularity", "--device", "cpu")
    report("evaluate on a trie", items, used, capsys)
    assert used.seconds < 60 and used.gigabytes < 3


def test_memory_of_lists_for_many_users_is_flat(shops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, peaks = workspace(shops, SMALL.items), []
    for users in (10_000, 20_000):
        table = write_shop(shops / f"{users}-users.parquet", 4 * users, users, SMALL.items)
        line = ["-m", "gti_cli", "recommend", "extended", "--workspace", str(root), "--input", str(table), "-k", "5"]
        output = shops / f"{users}-lists.parquet"
        used = measure(*line, "--beams", "5", "--max-history", "1", "--device", "cpu", "-o", str(output))
        report("recommend --input", users, used, capsys)
        peaks.append(used.gigabytes)
    # The table of interactions is still read at once, 200 bytes a user; a list of ten items took 4,000.
    assert peaks[1] - peaks[0] < 0.03
