"""A loaded model that was trained with a behaviour prior, against forward passes with biased logits; its prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from gti_cli import tables
from gti_cli.checkpoints.token_names import semantic_id
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.priors.masses import Prior
from gti_cli.prompts.next_item import encode_history
from gti_cli.recommendation.recommend import recommend
from tests.support.evaluation import ITEMS, World, item_scores, make_world
from tests.support.priors import WITH_PRIOR, add_checkpoint_with_prior, made_mixture, scores_with_prior
from tests.support.prompts import encode_query

SETTINGS: dict[str, Any] = {"checkpoint": WITH_PRIOR, "device": "cpu", "dtype": "float32"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("prior"))


@pytest.fixture(scope="module")
def prior(world: World) -> Prior:
    return add_checkpoint_with_prior(world)


def listed(path: Path, rows: list[int]) -> Path:
    tables.write(path, {"item_id": [f"i{row}" for row in rows]})
    return path


def some_user(world: World) -> tuple[str, list[int]]:
    return next((user, rows[:-1]) for user, rows in world.histories.items() if len(rows) == 6)


def test_lists_are_those_of_biased_logits(world: World, prior: Prior, tmp_path: Path) -> None:
    user, items = some_user(world)
    expected = scores_with_prior(world, prior, items)
    assert np.abs(expected - item_scores(world)[user]).max() > 0.5
    histories = {user: [f"i{row}" for row in items]}
    only, without = [1, 3, 4, 8, 9, 15, 16, 21], [3, 5, 6]
    rest = [row for row in range(ITEMS) if row not in without]
    ways: list[tuple[dict[str, Any], list[int]]] = [
        ({}, list(range(ITEMS))),
        # The score of an item does not depend on which others may be listed.
        ({"only": listed(tmp_path / "only.parquet", only)}, only),
        ({"exclude": listed(tmp_path / "without.parquet", without)}, rest),
        ({"candidates": listed(tmp_path / "candidates.parquet", only)}, only),
    ]
    for options, rows in ways:
        found = recommend(world.workspace, histories=histories, k=6, **SETTINGS, **options)
        best = sorted(rows, key=lambda row: -round(float(expected[row]), 4))[:6]
        assert [line.item_id for line in found] == [f"i{row}" for row in best], options
        np.testing.assert_allclose([line.score for line in found], expected[best], atol=1e-4)


@pytest.mark.parametrize("search", ["exact", "beam"])
def test_lists_with_a_mixture_are_those_of_biased_logits(world: World, search: str) -> None:
    mixture = add_checkpoint_with_prior(world, "mixed", made_mixture)
    user, items = some_user(world)
    expected = scores_with_prior(world, mixture, items, "mixed")
    options: dict[str, Any] = {**SETTINGS, "checkpoint": "mixed", "search": search, "beams": 40}
    found = recommend(world.workspace, histories={user: [f"i{row}" for row in items]}, k=8, **options)
    best = np.argsort(-np.round(expected, 4), kind="stable")[:8]
    assert [line.item_id for line in found] == [f"i{row}" for row in best]
    np.testing.assert_allclose([line.score for line in found], expected[best], atol=1e-4)


def test_evaluation_gives_the_same_lists_to_the_bit(world: World, prior: Prior) -> None:
    options: dict[str, Any] = {"filter_seen": True, "search": "exact"}
    manifest = evaluate(world.interactions, world.workspace, k=(5,), baselines=(), **SETTINGS, **options)
    assert manifest.details["behaviour_prior"] == "item-knn"
    lists = pq.read_table(world.workspace / manifest.name / "recommendations.parquet").to_pylist()
    histories = {user: [f"i{row}" for row in rows[:-1]] for user, rows in world.histories.items() if len(rows) >= 3}
    found = recommend(world.workspace, histories=histories, k=5, **SETTINGS, **options)
    keys = [(line["user_id"], line["item_id"], line["score"]) for line in lists]
    assert len(keys) > 50 and keys == [(line.user_id, line.item_id, line.score) for line in found]


def test_a_query_has_no_prior(world: World, prior: Prior) -> None:
    plain, biased = (
        recommend(world.workspace, queries={"q": "dress"}, k=5, **{**SETTINGS, "checkpoint": name})
        for name in ("finetuned", WITH_PRIOR)
    )
    assert plain == biased


def test_prompts_show_the_last_items(world: World) -> None:
    from gti_cli.recommender.files import read_workspace
    from gti_cli.recommender.loaded_model import LoadedModel
    from gti_cli.workspace import Workspace

    files = read_workspace(Workspace(world.workspace), None)
    assert files.checkpoint is not None
    model = LoadedModel(files, files.checkpoint, "cpu", "float32")
    tokenizer = files.checkpoint.load_tokenizer()
    prompts = model.prompts_of_histories([[1], [1, 2, 3, 4, 5, 6]])
    for ids, shown in zip(prompts.ids, ([1], [3, 4, 5, 6]), strict=True):
        assert ids == encode_history(tokenizer, [semantic_id(world.codes[row]) for row in shown])
    assert (prompts.cut, prompts.shown) == ([0, 2], [[1], [3, 4, 5, 6]])
    assert model.prompts_of_histories([[1, 2, 3]], 1).cut == [2]
    asked = model.prompts_of_queries(["red", "word " * 200])
    assert asked.ids[0] == encode_query(tokenizer, "red") and asked.queries_cut == 1 and asked.shown is None
    # All of them begin with what was computed when the model was loaded.
    stored = model.searcher.stored
    assert [prefix.begins(found.ids) for found in (prompts, asked) for prefix in stored] == [True, False, False, True]
