"""Asking members: the union of their lists, and what each says of it."""

from __future__ import annotations

import numpy as np

from gti_cli.baselines.item_knn import ItemKNN
from gti_cli.baselines.popularity import Popularity
from gti_cli.blends.members import BaselineMember, ask_members
from tests.support.baselines import ITEMS, ROW_OF, random_train

HISTORIES = [[1, 4], [0, 5, 5], [2, 3, 2, 9]]


def test_baselines_by_a_loop() -> None:
    train = random_train()
    fitted = {"popularity": Popularity(train, ROW_OF), "item-knn": ItemKNN(train, ROW_OF)}
    members = [BaselineMember(name, baseline, ITEMS) for name, baseline in fitted.items()]
    counts = np.arange(ITEMS) * 9.0
    allowed = np.arange(ITEMS) != 6
    said = ask_members(members, HISTORIES, counts, list_length=3, filter_seen=True, allowed=allowed)
    assert said.members == tuple(fitted)
    ends = said.candidates.offsets
    for user, history in enumerate(HISTORIES):
        part = slice(ends[user], ends[user + 1])
        dense = [baseline.scores([history])[0] for baseline in fitted.values()]
        hidden = {*history, 6}
        lists = [
            sorted(
                (row for row in range(ITEMS) if row not in hidden and scores[row] > 0),
                key=lambda row, scores=scores: (-scores[row], row),
            )[:3]
            for scores in dense
        ]
        rows = said.candidates.rows[part].tolist()
        assert rows == sorted({row for items in lists for row in items})
        for member, scores in enumerate(dense):
            expected = [np.log(scores[row]) if scores[row] > 0 else -np.inf for row in rows]
            np.testing.assert_allclose(said.scores[member, part], expected)
            assert said.listed[member, part].tolist() == [row in lists[member] for row in rows]
        assert said.contexts.history[part].tolist() == [int(np.searchsorted([2, 5, 10, 20], len(history)))] * len(rows)
        assert said.contexts.item[part].tolist() == np.searchsorted([0, 4, 19, 99], counts[rows]).tolist()
