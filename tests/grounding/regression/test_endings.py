"""The vector of the rows that end answers: which rows it moves, and that the end of the turn gains from it."""

from __future__ import annotations

import torch

from gti_cli.grounding.nll.batches import Collator
from gti_cli.grounding.nll.corpus import divide_examples
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.regression.endings import ending_rows, shift_endings
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.examples import Example
from tests.support.grounding import NEW_IDS, OLD, PAD, masked_loss, model_of
from tests.support.regression import to_tokens


def test_rows_that_end_answers() -> None:
    ids = torch.tensor([20, 21, 22, 23, 24])
    answers = [[20, 21, 2], [21, 22, 5, 2], [3, 2], [20, 23], [24, 6, 20, 2]]
    # 23 ends an answer behind which nothing is predicted.
    assert ending_rows(answers, ids).tolist() == [0, 1, 2]


def test_one_vector_moves_these_rows_and_the_end_is_probable_again() -> None:
    examples, templates = to_tokens(60)
    model = model_of("qwen3")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, [0] * 60, set(NEW_IDS.tolist()))
    losses = [float(masked_loss(model, examples).detach())]
    with rows.attached():
        trained = GroundingModel(model, rows, corpus.prefixes)
        assert shift_endings(trained, Collator(corpus, PAD), 0.05, 0) == 4
        assert all(parameter.grad is None for parameter in trained.parameters())
    losses.append(float(masked_loss(model, examples).detach()))
    assert losses[1] < losses[0] - 0.5
    weight = model.get_output_embeddings().weight
    moved = (weight - before["lm_head.weight"]).detach()
    assert not moved[: OLD + 8].any() and moved[OLD + 8 :].any()
    torch.testing.assert_close(moved[OLD + 8 :], moved[OLD + 8 :].mean(0).expand(4, -1), rtol=0, atol=1e-5)


def test_answers_without_an_end_stay_as_they_are() -> None:
    examples, templates = to_tokens(4)
    examples = [Example(example.prompt, example.answer[:3]) for example in examples]
    model = model_of("qwen3")
    weight = model.get_output_embeddings().weight.clone()
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, [0] * 4, set(NEW_IDS.tolist()))
    with rows.attached():
        assert shift_endings(GroundingModel(model, rows, corpus.prefixes), Collator(corpus, PAD), 0.05, 0) == 0
    assert torch.equal(model.get_output_embeddings().weight, weight)
