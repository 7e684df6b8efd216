"""The diagnosis at real sizes, compared with loading the matrix and calling numpy's SVD and scipy's correlations.

Run with ``pytest tests/benchmarks/test_diagnose.py --run-benchmarks -s``; needs 3 GB of disk and 8 GB of memory. The
limits are in processor seconds, because other work on the machine changes them less than the wall time. Both are
printed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.diagnose_made import make_checkpoint, make_workspace

MEASURED = """
import json, resource, time
started = time.monotonic()
{body}
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({{"wall": time.monotonic() - started, "cpu": used.ru_utime + used.ru_stime,
                  "gigabytes": used.ru_maxrss / 1e6, **found}}))
"""
OURS = """
from gti_cli.diagnostics.diagnose import diagnose
figures = diagnose([{folder!r}], {workspace!r}, plot={plot}, name="x", codebooks_from={books!r}).metrics[{name!r}]
found = {{"rank": figures["effective_rank"], "levels": {{
    level: [entry["pearson"], entry["spearman"], entry["spearman_error"]]
    for level, entry in figures["rsa_levels"].items()}}}}
"""
# A plain computation, as in a notebook. It takes one level at a time, because the 302 million pairs of 24,576 tokens
# need more memory than most machines have.
PEER = """
import numpy as np, torch
from safetensors.numpy import load_file as load_codebooks
from safetensors.torch import load_file
from scipy import stats
matrix = load_file({folder!r} + "/model.safetensors")["model.embed_tokens.weight"].float().numpy()
new, rng = matrix[{base}:], np.random.default_rng(0)
old = matrix[np.sort(rng.choice({base}, len(new), replace=False))]
ranks = [float(np.exp(stats.entropy(np.linalg.svd(rows, compute_uv=False)))) for rows in (new, old)]
found, start = {{"rank": ranks[0], "levels": {{}}}}, 0
for level in range({levels}):
    book = load_codebooks({workspace!r} + "/codebooks.safetensors")[f"level_{{level}}"]
    rows = new[start : start + len(book)]
    start += len(book)
    sides = []
    for side in (rows, book):
        units = side / np.linalg.norm(side, axis=1, keepdims=True)
        sides.append((units @ units.T)[np.triu_indices(len(side), 1)])
    found["levels"][level] = [float(test(*sides).statistic) for test in (stats.pearsonr, stats.spearmanr)]
    if {once}:
        break
"""
# name: (pretrained rows, width, codes of each level, limits on processor seconds and gigabytes, everything)
# With everything: catalogue, words and all pictures; the peer then computes the first level only. Without: the new
# tokens and a file of codebooks, as for a checkpoint that another tool wrote.
CASES = {
    "24,576 tokens of width 1,024": (151_936, 1024, (8192,) * 3, 60, 4.0, True),
    "151,936 x 4,096, 1,024 of them new": (150_912, 4096, (256,) * 4, 10, 1.0, False),
}


def run(body: str) -> dict:
    done = subprocess.run([sys.executable, "-c", MEASURED.format(body=body)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_time_memory_and_the_same_figures(case: str, tmp_path: Path) -> None:
    base, width, sizes, seconds, gigabytes, whole = CASES[case]
    folder = str(make_checkpoint(tmp_path / "checkpoint", base, width, sizes))
    workspace = str(make_workspace(tmp_path / "ws", sizes, 20_000, base))
    books = "auto" if whole else f"{workspace}/codebooks.safetensors"
    mine = workspace if whole else str(tmp_path / "empty")
    ours = run(OURS.format(folder=folder, workspace=mine, name="checkpoint", plot=whole, books=books))
    plot = " --plot" if whole else ""
    print(f"\n{case}\n  gti diagnose{plot}: {ours['wall']:.1f} s, {ours['cpu']:.1f} s CPU, {ours['gigabytes']:.2f} GB")
    peer = run(PEER.format(folder=folder, workspace=workspace, base=base, levels=len(sizes), once=whole))
    print("  numpy, scipy" + (" (spectra, first level)" if whole else " (spectra, all levels)"), end=": ")
    print(f"{peer['wall']:.1f} s, {peer['cpu']:.1f} s CPU, {peer['gigabytes']:.2f} GB")
    ratios = [peer[key] / ours[key] for key in ("wall", "cpu", "gigabytes")]
    print("  peer over ours: {:.2f} x, {:.2f} x, {:.2f} x".format(*ratios))
    assert ours["rank"] == pytest.approx(peer["rank"], rel=1e-4)  # the peer computes in float32
    for level, (r, rho) in peer["levels"].items():
        assert ours["levels"][level][0] == pytest.approx(r, abs=1e-4)
        assert ours["levels"][level][1] == pytest.approx(rho, abs=5 * ours["levels"][level][2] + 1e-4)
    assert ours["cpu"] <= seconds
    assert ours["gigabytes"] <= gigabytes
