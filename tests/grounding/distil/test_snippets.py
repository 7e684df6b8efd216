"""Snippets that the model writes itself, against a naive loop over whole sequences."""

from __future__ import annotations

import pytest
import torch

from gti_cli.grounding.distil import snippets as distil_snippets
from gti_cli.grounding.distil.batches import start_id
from gti_cli.grounding.distil.contexts import Phrases
from gti_cli.grounding.distil.snippets import SNIPPET_TOKENS, sample_snippets
from tests.support.distillation import NAMES, model_with_new_tokens

PHRASES = Phrases(
    ["red coat", "blue denim jacket", "boots", "boots"], ["<x>", "<y>", "<x>", "<x>"], ["", "", "", "A {}."], {}
)


def test_snippets_are_the_same_for_a_seed_and_hold_old_tokens_only() -> None:
    model, tokenizer, old = model_with_new_tokens()
    first = sample_snippets(model, tokenizer, old, PHRASES, 3, 0)
    assert list(first) == [("red coat", "<x>"), ("blue denim jacket", "<y>"), ("boots", "<x>")]
    assert first == sample_snippets(model, tokenizer, old, PHRASES, 3, 0)
    assert first != sample_snippets(model, tokenizer, old, PHRASES, 3, 1)
    for snippets in first.values():
        assert len({before for before, _ in snippets}) == 3
        for _, behind in snippets:
            assert not any(name in behind for name in [*NAMES, *tokenizer.all_special_tokens])


def test_snippets_are_drawn_from_the_models_own_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """A naive loop over whole sequences, with the same random numbers, draws the same; it stops at the end token."""
    monkeypatch.setattr(distil_snippets, "_BATCH", 1)
    model, tokenizer, old = model_with_new_tokens()
    phrases = Phrases(["red coat"], ["<x>"], [""], {})
    banned = [n for n in range(len(tokenizer) + 3) if n not in old.ids()]
    banned += [n for n in tokenizer.all_special_ids if n != tokenizer.eos_token_id]
    stopped = 0
    for seed in range(12):
        with torch.no_grad():  # a likelier end
            model.get_input_embeddings().weight[tokenizer.eos_token_id] *= 1.2
        (((_, behind),),) = sample_snippets(model, tokenizer, old, phrases, 1, seed).values()
        generator = torch.Generator().manual_seed(seed)
        ids = [start_id(tokenizer), *old.encode(["red coat"])[0]]
        prompt = len(ids)
        for _ in range(SNIPPET_TOKENS):
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1]
            logits[banned] = -torch.inf
            ids.append(int(torch.multinomial(logits.softmax(-1)[None], 1, generator=generator)))
        drawn = ids[prompt:]
        if tokenizer.eos_token_id in drawn:
            drawn = drawn[: drawn.index(tokenizer.eos_token_id)]
            stopped += 1
        assert behind == tokenizer.decode(drawn).rstrip("\ufffd")
    assert stopped > 0
