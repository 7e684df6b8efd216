"""A checkpoint as a member, against a forward pass for every item."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from gti_cli import tables
from gti_cli.baselines.item_knn import ItemKNN
from gti_cli.blends.candidate_table import Candidates
from gti_cli.blends.language_model import LanguageModel, ModelSetting
from gti_cli.checkpoints.finding import find_checkpoint
from gti_cli.checkpoints.token_names import semantic_id
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.priors.item_knn_prior import ItemKnnPrior
from gti_cli.priors.stored_prior import StoredPrior, write_prior
from gti_cli.workspace import Workspace
from tests.support.blends import Blended, best, model_scores
from tests.support.evaluation import (
    ITEMS,
    SIZES,
    add_checkpoint,
    add_semantic_ids,
    make_codes,
    make_histories,
    write_interactions,
)

HISTORIES = [[1, 4], [0, 5, 5, 8, 9, 2, 3], [7]]


@pytest.fixture
def member(blended: Blended) -> LanguageModel:
    space = Workspace(blended.world.workspace)
    catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    found = find_checkpoint(space, "finetuned", "finetuned", "gti finetune")
    return LanguageModel("lm", found, ModelSetting(catalogue, SIZES, torch.device("cpu"), torch.float32))


def test_lists_and_scores(blended: Blended, member: LanguageModel, tmp_path: Path) -> None:
    dense = model_scores(blended.world, HISTORIES)
    some = np.arange(ITEMS) % 2 == 0
    for filter_seen in (False, True):
        for allowed in (None, some):
            found = member.lists(HISTORIES, 8, filter_seen=filter_seen, allowed=allowed)
            for user, history in enumerate(HISTORIES):
                hidden = set(history) if filter_seen else set()
                hidden |= set(np.flatnonzero(~some).tolist()) if allowed is not None else set()
                expected = best(dense[user], hidden, 8)
                assert found[user].tolist() == expected + [-1] * (8 - len(expected))
    rows = [[0, 3, 7, 25], [], list(range(ITEMS))]
    candidates = Candidates(np.cumsum([0, *map(len, rows)]), np.concatenate(rows).astype(np.int64))
    expected_scores = np.concatenate([dense[user][of_user] for user, of_user in enumerate(rows) if of_user])
    scores = member.scores(HISTORIES, candidates, folder=tmp_path)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-4)
    (parts,) = tmp_path.iterdir()  # finished parts, for a resumed run
    assert parts.name.startswith("lm-scores-32-cpu-")
    np.testing.assert_array_equal(member.scores(HISTORIES, candidates, folder=tmp_path), scores)


def test_parts_of_an_interrupted_run_are_of_one_catalogue(
    blended: Blended, member: LanguageModel, tmp_path: Path
) -> None:
    """`gti build-ids --reuse` numbers the leaves of the trie anew: old lists name other items then."""
    space = Workspace(blended.world.workspace)
    catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    taken = {tuple(row) for row in catalogue.codes.tolist()}
    free = next(row for row in itertools.product(*map(range, SIZES)) if row not in taken)
    grown = replace(
        catalogue,
        item_ids=[*catalogue.item_ids, "new"],
        codes=np.vstack([catalogue.codes, np.asarray([free], dtype=catalogue.codes.dtype)]),
        tokens=[*catalogue.tokens, semantic_id(np.asarray(free))],
    )
    found = find_checkpoint(space, "finetuned", "finetuned", "gti finetune")
    member_later = LanguageModel("lm", found, ModelSetting(grown, SIZES, torch.device("cpu"), torch.float32))
    before = member.lists(HISTORIES, 8, filter_seen=False, folder=tmp_path)
    fresh = member_later.lists(HISTORIES, 8, filter_seen=False)
    np.testing.assert_array_equal(member_later.lists(HISTORIES, 8, filter_seen=False, folder=tmp_path), fresh)
    np.testing.assert_array_equal(member.lists(HISTORIES, 8, filter_seen=False, folder=tmp_path), before)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_checkpoint_with_a_behaviour_prior(tmp_path: Path) -> None:
    """The lists and scores of `gti evaluate`, which knows the prior."""
    space, codes, histories = Workspace(tmp_path / "space"), make_codes(), make_histories()
    interactions = write_interactions(tmp_path / "interactions.parquet", histories)
    item_ids = [f"i{row}" for row in range(ITEMS)]
    row_of = {item: row for row, item in enumerate(item_ids)}
    train = {user: [f"i{row}" for row in items[:-2]] for user, items in histories.items() if len(items) > 2}
    prior = StoredPrior(ItemKnnPrior.of(ItemKNN(train, row_of)), np.full(3, 0.8, dtype=np.float32))
    ids = add_semantic_ids(space, codes)
    add_checkpoint(space, ids, also=lambda folder: write_prior(folder, prior, item_ids))
    evaluate(interactions, space.root, k=[10], beams=40, dtype="float32", baselines=("popularity",))
    rows = pq.read_table(space.path("evaluation/finetuned/recommendations.parquet")).to_pylist()
    known = {user: items[:-1] for user, items in histories.items() if len(items) > 2}
    expected = [[row_of[row["item_id"]] for row in rows if row["user_id"] == user] for user in known]
    found = find_checkpoint(space, "finetuned", "finetuned", "gti finetune")
    catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    member = LanguageModel("lm", found, ModelSetting(catalogue, SIZES, torch.device("cpu"), torch.float32))
    assert member.lists(list(known.values()), 10, filter_seen=False).tolist() == expected
    candidates = Candidates(np.arange(0, 10 * len(known) + 1, 10), np.asarray(expected).ravel())
    scores = member.scores(list(known.values()), candidates)
    np.testing.assert_allclose(scores, [row["score"] for row in rows], atol=1e-4)
    only = np.arange(ITEMS) % 3 == 0
    restricted = member.lists(list(known.values()), 4, filter_seen=False, allowed=only)
    assert (restricted >= 0).all() and only[restricted].all()
