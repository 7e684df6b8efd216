"""A checkpoint as a member, against a forward pass for every item."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gti_cli import tables
from gti_cli.blends.candidate_table import Candidates
from gti_cli.blends.language_model import LanguageModel, ModelSetting
from gti_cli.checkpoints.finding import find_checkpoint
from gti_cli.workspace import Workspace
from tests.support.blends import Blended, best, model_scores
from tests.support.evaluation import ITEMS, SIZES

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
    assert [path.name for path in tmp_path.iterdir()] == ["lm-scores-32-cpu"]  # finished parts, for a resumed run
    np.testing.assert_array_equal(member.scores(HISTORIES, candidates, folder=tmp_path), scores)
