"""Positions of one place from the batched pass, against the model's own forward on one whole sequence at a time."""

from __future__ import annotations

import pytest
import torch

from gti_cli.grounding.nll.corpus import divide_examples
from gti_cli.grounding.nll.head_loss import find_logit_rule
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.regression.collect import collect
from gti_cli.grounding.trainable_rows import NewRows
from tests.support.grounding import NEW_IDS, OLD, PAD, model_of
from tests.support.regression import to_tokens

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("kind", "tied", "whole"),
    [
        ("qwen3", True, False),
        ("qwen3", True, True),
        ("phi", False, False),
        ("gemma2", True, False),
        ("cohere", True, True),
    ],
)
def test_every_number_is_the_models_own(kind: str, tied: bool, whole: bool) -> None:
    model = model_of(kind, tied)
    examples, templates = to_tokens(8)
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, [0] * len(examples), set(NEW_IDS.tolist()), whole=whole)
    lengths = corpus.computed_lengths()
    order = sorted(range(len(examples)), key=lambda number: (lengths[number], number))
    with rows.attached():
        rule = find_logit_rule(model, rows)
        assert rule is not None
        trained = GroundingModel(model, rows, corpus.prefixes)
        found = [collect(trained, corpus, place, rule, PAD, CPU, batch_size=5) for place in range(4)]
    head = model.get_output_embeddings()
    for place, positions in enumerate(found):
        for number, state, old, target, old_target in zip(
            order, positions.states, positions.old, positions.targets, positions.old_target_logits, strict=True
        ):
            sequence = torch.tensor([examples[number].prompt + examples[number].answer[:place]])
            with torch.no_grad():
                logits = model(sequence).logits[0, -1]
                torch.testing.assert_close(rule(head(state)), logits, rtol=0, atol=1e-4)
            token = examples[number].answer[place]
            assert float(old) == pytest.approx(float(logits[:OLD].logsumexp(0)), abs=1e-4)
            assert int(target) == (token - OLD if token >= OLD else -1)
            assert float(old_target) == pytest.approx(0 if token >= OLD else float(logits[token]), abs=1e-4)


def test_short_answers_have_no_later_place() -> None:
    model = model_of("qwen3")
    examples, templates = to_tokens(6)
    short = type(examples[0])(examples[0].prompt, examples[0].answer[:2])
    examples = [short, *examples[1:]]
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, [0] * 6, set(NEW_IDS.tolist()))
    with rows.attached():
        rule = find_logit_rule(model, rows)
        assert rule is not None
        trained = GroundingModel(model, rows, corpus.prefixes).train()
        counts = [len(collect(trained, corpus, place, rule, PAD, CPU)) for place in (1, 2, 4)]
    assert counts == [6, 5, 0]
    assert trained.training  # the mode before the pass
