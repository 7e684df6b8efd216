"""What each code adds to a score: the sum is the score that the search gives, and each part that of a forward pass."""

from __future__ import annotations

import pytest
import torch

from gti_cli.recommender.explain import level_scores
from gti_cli.recommender.recommender import Recommender

HISTORY = ["i1", "i4", "i9"]


def test_each_code_is_that_of_a_forward_pass(recommender: Recommender) -> None:
    model = recommender.model
    prompts = model.prompts_of_histories([[1, 4, 9]])
    for row in (0, 7):
        codes = recommender.files.catalogue.codes[row]
        answer = [int(model.token_ids[level][code]) for level, code in enumerate(codes)]
        with torch.inference_mode():
            logits = model.searcher.model(torch.tensor([prompts.ids[0] + answer])).logits[0].log_softmax(-1)
        expected = [float(logits[len(prompts.ids[0]) - 1 + n, token]) for n, token in enumerate(answer)]
        assert level_scores(model, prompts, row) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", ["plain", "prior"])
def test_the_sum_is_the_score(kind: str, recommender: Recommender, with_prior: Recommender) -> None:
    asked = recommender if kind == "plain" else with_prior
    for item in asked.recommend([HISTORY], k=5)[0].items:
        levels = asked.explain(HISTORY, item_id=item.item_id)
        assert "".join(level.token for level in levels) == asked.tokens(item.item_id)
        assert sum(level.log_probability for level in levels) == pytest.approx(item.score, abs=1e-5)
        assert [f"<{'abc'[n]}_{level.code}>" for n, level in enumerate(levels)] == [level.token for level in levels]
    query = asked.recommend(queries=["a red dress"], k=1)[0].items[0]
    levels = asked.explain(query="a red dress", item_id=query.item_id)
    assert sum(level.log_probability for level in levels) == pytest.approx(query.score, abs=1e-5)
