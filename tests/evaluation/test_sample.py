"""Some users, or queries, drawn: which, how many, and that nothing else about them changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli import tables
from gti_cli.app import run
from gti_cli.errors import InputError
from gti_cli.evaluation.compare import compare
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.evaluation.sample import draw_sample
from tests.support.evaluation import make_world


@given(
    owners=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 2**32 - 1),
)
def test_whole_users_in_order_and_samples_nested(owners: list[str], sizes: tuple[int, int], seed: int) -> None:
    entries = list(enumerate(owners))
    few, more = (draw_sample(entries, lambda entry: entry[1], size, seed) for size in sorted(sizes))
    for size, found in zip(sorted(sizes), (few, more), strict=True):
        names = {owner for _, owner in found}
        assert len(names) == min(size, len(set(owners)))
        assert found == [entry for entry in entries if entry[1] in names]
    assert set(few) <= set(more)
    assert draw_sample(entries, lambda entry: entry[1], None, seed) == entries


def test_every_user_is_as_likely() -> None:
    times = np.zeros(10)
    for seed in range(2000):
        times[draw_sample(range(10), str, 3, seed)] += 1
    assert np.abs(times / 2000 - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 2000)


def test_drawn_users_have_what_they_have_among_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(tmp_path)
    everybody = evaluate(world.interactions, world.workspace, k=[5], name="all")
    command = ["evaluate", "-w", str(world.workspace), "--interactions", str(world.interactions), "--k", "5"]
    total = everybody.counts["evaluated"]
    assert run([*command, "--sample", "7", "--name", "some"]) == 0
    assert f"7 users of {total:,}, drawn by seed" in capsys.readouterr().out
    both = [
        pq.read_table(world.workspace / f"evaluation/{name}/per_user.parquet").to_pylist() for name in ("all", "some")
    ]
    assert len(both[1]) == 7 and all(row in both[0] for row in both[1])
    for baseline in ("item-knn", "popularity"):
        tables_of = [world.workspace / f"evaluation/{name}/baselines/{baseline}.parquet" for name in ("all", "some")]
        rows = [pq.read_table(path).to_pylist() for path in tables_of]
        assert len(rows[1]) == 7 and all(row in rows[0] for row in rows[1])
    again = evaluate(world.interactions, world.workspace, k=[5], name="some", sample=7)
    assert again.counts["not_drawn"] == total - 7 and everybody.counts["not_drawn"] == 0
    mean = np.mean([row["recall@5"] for row in both[1]])
    assert again.metrics["metrics"]["recall@5"] == pytest.approx(mean)
    capsys.readouterr()
    for more, words in (
        (["--compare", "all"], "sample 7, 'all' with None"),
        (["--compare", "some", "--seed", "3"], "sample_seed 3, 'some' with 0"),
    ):
        assert run([*command, "--sample", "7", "--name", "new", "-q", *more]) == 2
        assert words in capsys.readouterr().err
    with pytest.raises(InputError, match="with sample None, 'some' with 7"):
        compare(world.workspace, "all", "some")


def test_nobody_is_refused(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    with pytest.raises(InputError, match="--sample 0 leaves nobody to evaluate"):
        evaluate(world.interactions, world.workspace, k=[5], sample=0)


def test_queries_are_drawn_too(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    names = [f"q{n}" for n in range(12)]
    columns = {"query_id": names, "query": [f"red {n}" for n in range(12)], "item_id": [f"i{n}" for n in range(12)]}
    grades = [2] * 10 + [1] * 2  # two without a good item
    tables.write(tmp_path / "queries.parquet", {**columns, "relevance": grades, "split": ["test"] * 12})
    manifests = [
        evaluate(queries=tmp_path / "queries.parquet", workspace=world.workspace, k=[5], name=f"s{size}", sample=size)
        for size in (4, None)
    ]
    assert [one.counts["evaluated"] for one in manifests] == [4, 10]
    assert [one.counts["not_drawn"] for one in manifests] == [6, 0]
    assert [one.counts["left_out_without_good"] for one in manifests] == [2, 2]
    rows = [pq.read_table(world.workspace / f"evaluation/s{size}/per_query.parquet").to_pylist() for size in (4, None)]
    assert all(row in rows[1] for row in rows[0])
