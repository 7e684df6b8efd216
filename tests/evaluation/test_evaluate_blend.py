"""A blend evaluated, against a loop that blends scores of all items for every user."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gti_cli.blending.blend import blend
from gti_cli.errors import InputError
from gti_cli.evaluation import evaluate_blend
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.evaluation.several_seeds import evaluate_several, summarise
from tests.support.blends import MEMBERS, Blended, member_scores, naive_blend, training_counts


@pytest.mark.parametrize("filter_seen", [False, True])
def test_equal_to_blending_every_item(
    blended: Blended, filter_seen: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world, name = blended.world, f"all-{filter_seen}"
    monkeypatch.setattr(evaluate_blend, "USERS_AT_ONCE", 6)  # several groups of users
    options: dict[str, Any] = {"k": [3, 10], "filter_seen": filter_seen, "baselines": ["popularity"]}
    manifest = evaluate(world.interactions, world.workspace, checkpoint="blend", name=name, **options)
    assert ("was fitted without --filter-seen" in capsys.readouterr().err) == filter_seen
    stored = json.loads((world.workspace / "blend/blend.json").read_text())
    folder = world.workspace / "evaluation" / name
    users = pq.read_table(folder / "per_user.parquet").to_pydict()
    lists = pq.read_table(folder / "recommendations.parquet").to_pylist()
    known = {user: items for user, items in world.histories.items() if len(items) > 2}
    scores = member_scores(blended, [items[:-1] for items in known.values()])
    counts = training_counts(world)
    assert users["user_id"] == list(known)
    hits: dict[str, list[float]] = {member: [] for member in MEMBERS}
    for number, (user, items) in enumerate(known.items()):
        of_user = {member: scores[member][number] for member in MEMBERS}
        history, target = items[:-1], items[-1]
        hidden = set(history) if filter_seen else set()
        found = naive_blend(stored["blend"], of_user, history, counts, hidden=hidden)
        expected = sum(score > found[target] for score in found.values()) if target in found else -1
        assert users["items_ahead"][number] == expected
        mine = [row for row in lists if row["user_id"] == user]
        order = sorted(found, key=lambda row: (-round(found[row], 6), row))[:10]
        assert [row["item_id"] for row in mine] == [f"i{row}" for row in order]
        np.testing.assert_allclose([row["score"] for row in mine], [found[row] for row in order], atol=1e-3)
        for member in MEMBERS:
            rest = naive_blend(stored["without"][member], of_user, history, counts, hidden=hidden)
            own = rest.get(target, math.inf)
            alike = max(sum(abs(score - own) < 1e-9 for score in rest.values()), 1)
            ahead = sum(score > own + 1e-9 for score in rest.values()) if target in rest else 99
            hits[member].append(min(max(3 - ahead, 0), alike) / alike)
    for member in MEMBERS:
        report = manifest.metrics["without"][member]
        assert report["metrics"]["recall@3"] == pytest.approx(np.mean(hits[member]))
        difference = report["differences"]["recall@3"]
        assert difference["difference"] == pytest.approx(np.mean(users["recall@3"]) - np.mean(hits[member]))
        assert difference["low"] <= difference["difference"] <= difference["high"]
    written = json.loads((folder / "metrics.json").read_text())
    assert written["without"] == manifest.metrics["without"] and set(manifest.upstream) == {"blend", "semantic_ids"}
    # The table grows by `gti build-ids --reuse`, under the same identity: then this evaluation is out of date.
    assert set(manifest.inputs) == {"interactions", "semantic_ids"}
    assert set(written["baselines"]) == {"popularity"} and (folder / "baselines/popularity.parquet").is_file()


def test_another_table_than_that_of_the_fit(
    blended: Blended, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = blended.world
    blend(["popularity", "item-knn"], world.interactions, world.workspace, name="counts", list_length=10)
    other = tmp_path / "other.parquet"
    table = pq.read_table(world.interactions)
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), other)
    options: dict[str, Any] = {"k": [5], "baselines": ("popularity",), "sample": 5}
    for number, (path, more, said) in enumerate(
        [
            (world.interactions, {}, ""),
            (other, {}, "counts was fitted to another table of interactions than"),
            (world.interactions, {"duplicates": "drop"}, "counts was fitted with another --duplicates"),
        ]
    ):
        capsys.readouterr()
        evaluate(path, world.workspace, checkpoint="counts", name=f"fit-{number}", **options, **more)
        printed = capsys.readouterr().err
        assert said in printed and ("was fitted" in printed) == bool(said)


def test_several_blends(blended: Blended) -> None:
    """Blends of several seeds are summarised like checkpoints."""
    table, space = blended.world.interactions, blended.world.workspace
    options: dict[str, Any] = {"k": [5], "baselines": ("popularity",)}
    blend(["popularity", "item-knn"], table, space, name="other", list_length=10)
    runs, name = evaluate_several(["blend", "other"], table, space, **options)
    whole = summarise(runs, space, name, **options)
    both = [run.metrics["metrics"]["ndcg@5"] for run in runs]
    assert whole.metrics["metrics"]["ndcg@5"] == pytest.approx(np.mean(both)) and both[0] != both[1]


def test_refused(blended: Blended, monkeypatch: pytest.MonkeyPatch) -> None:
    table, space = blended.world.interactions, blended.world.workspace
    for options, said in (
        ({"beams": 300}, "--beams is about the search of a checkpoint"),
        ({"search": "exact"}, "--search exact is about the search"),
        ({"history": 3}, "--history is about the search"),
    ):
        with pytest.raises(InputError, match=said):
            evaluate(table, space, checkpoint="blend", **options)
    with pytest.raises(InputError, match="a blend recommends to users, and cannot answer queries"):
        evaluate(None, space, queries=table, checkpoint="blend")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="a blend is evaluated in one process"):
        evaluate(table, space, checkpoint="blend")
