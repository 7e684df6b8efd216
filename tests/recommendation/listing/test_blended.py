"""`gti recommend BLEND`, against a loop that blends scores of all items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.recommendation import requests
from gti_cli.recommendation.recommend import recommend, recommend_in_pieces
from tests.support.blends import Blended, member_scores, naive_blend, training_counts

HISTORIES = {"a": [1, 4, 9], "b": [12], "c": [2, 2, 20, 21, 22, 8]}


@pytest.mark.parametrize("restriction", ["none", "seen", "exclude", "only"])
def test_lists(blended: Blended, restriction: str, tmp_path: Path) -> None:
    named = {user: [f"i{row}" for row in rows] for user, rows in HISTORIES.items()}
    listed = tmp_path / "items.csv"
    listed.write_text("item_id\n" + "\n".join(f"i{row}" for row in range(0, 26, 2)) + "\n")
    options: dict[str, Any] = {"exclude": {"exclude": listed}, "only": {"only": listed}, "seen": {"filter_seen": True}}
    found = recommend(
        blended.world.workspace,
        checkpoint="blend",
        histories=named,
        k=6,
        dtype="float32",
        **options.get(restriction, {}),
    )
    stored = json.loads((blended.world.workspace / "blend/blend.json").read_text())["blend"]
    scores = member_scores(blended, list(HISTORIES.values()))
    for number, (user, history) in enumerate(HISTORIES.items()):
        hidden = {
            "none": set(),
            "seen": set(history),
            "exclude": set(range(0, 26, 2)),
            "only": set(range(1, 26, 2)),
        }[restriction]
        of_user = {name: values[number] for name, values in scores.items()}
        expected = naive_blend(stored, of_user, history, training_counts(blended.world), hidden=hidden)
        order = sorted(expected, key=lambda row: (-round(expected[row], 6), row))[:6]
        mine = [entry for entry in found if entry.user_id == user]
        assert [(entry.rank, entry.item_id) for entry in mine] == [(n + 1, f"i{row}") for n, row in enumerate(order)]
        np.testing.assert_allclose([entry.score for entry in mine], [expected[row] for row in order], atol=1e-3)


def test_lists_in_pieces(blended: Blended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(user, f"i{row}", n) for user, items in HISTORIES.items() for n, row in enumerate(items)]
    columns = dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True))
    tables.write(tmp_path / "table.parquet", columns)
    options: dict[str, Any] = {"checkpoint": "blend", "table": tmp_path / "table.parquet", "k": 6, "dtype": "float32"}
    whole = recommend(blended.world.workspace, **options)
    monkeypatch.setattr(requests, "PIECE", 2)
    for parts in (None, tmp_path / "parts"):
        found = list(recommend_in_pieces(blended.world.workspace, parts=parts, **options))
        assert [list(piece.users) for piece in found] == [["a", "b"], ["c"]]
        lines = [line for piece in found for line in piece]
        assert [(line.user_id, line.item_id) for line in lines] == [(line.user_id, line.item_id) for line in whole]


def test_refused(blended: Blended) -> None:
    space, one = blended.world.workspace, {"a": ["i1"]}
    for options, said in (
        ({"histories": one, "beams": 40}, "--beams is for a checkpoint, and 'blend' is a blend"),
        ({"histories": one, "search": "exact"}, "--search is for a checkpoint"),
        ({"histories": {"a": ["i99"]}}, "items without a semantic ID: 'i99'"),
        ({"queries": {"q": "red"}}, "a blend recommends to users, and cannot answer queries"),
    ):
        with pytest.raises(InputError, match=said):
            recommend(space, checkpoint="blend", **options)  # type: ignore[arg-type]
