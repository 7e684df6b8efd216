"""A blend in memory: `gti recommend` gives the same, and a choice of items for each user."""

from __future__ import annotations

from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.recommendation.recommend import recommend
from gti_cli.recommender.recommender import Recommender

HISTORIES = [["i1", "i4", "i9"], ["i12"], ["i2", "i20", "i8"]]


def test_lists_of_a_blend(blended: Any) -> None:
    space = blended.world.workspace
    asked = Recommender.load(space, "blend", device="cpu", dtype="float32")
    assert asked.is_blend and asked.trained_on.histories is True and asked.trained_on.queries is False
    found = asked.recommend(HISTORIES, k=4)
    stage = recommend(space, checkpoint="blend", histories=dict(enumerate(HISTORIES)), k=4, dtype="float32")  # type: ignore[arg-type]
    assert [(item.item_id, item.score) for answer in found for item in answer.items] == [
        (line.item_id, line.score) for line in stage
    ]
    # Each user's own choice gives what asking for that user alone gives.
    exclude, seen = [["i1"], [], ["i1"]], [False, True, False]
    together = asked.recommend(HISTORIES, k=4, exclude=exclude, filter_seen=seen)
    for number, history in enumerate(HISTORIES):
        alone = asked.recommend([history], k=4, exclude=exclude[number], filter_seen=seen[number])[0]
        assert [item.item_id for item in together[number].items] == [item.item_id for item in alone.items]
        assert [item.score for item in together[number].items] == pytest.approx(
            [i.score for i in alone.items], abs=1e-4
        )
    assert "i12" not in {item.item_id for item in together[1].items}
    everything = asked.recommend(HISTORIES[:1], k=len(asked.item_ids))
    assert asked.recommend(HISTORIES[:1], k=10**9) == everything
    for call, said in (
        (lambda: asked.recommend(HISTORIES, search="exact"), "--search is for a checkpoint, and 'blend' is a blend"),
        (lambda: asked.recommend(queries=["red"]), "cannot answer queries"),
        (lambda: asked.check(queries=["red"]), "cannot answer queries"),
        (lambda: asked.score(HISTORIES, candidates=[["i1"]] * 3), "'blend' is a blend, which scores no single item"),
    ):
        with pytest.raises(InputError, match=said):
            call()
