"""Tokenizers, models and examples for the tests of distillation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gti_cli.grounding.distil.batches import DistilCollator, DistilCorpus, DistilExample, shared_end
from gti_cli.grounding.distil.old_tokenization import OldTokenization
from tests.support.grounding import NEW_IDS, OLD, PAD
from tests.support.models import make_model, make_tokenizer

NAMES = ["<x>", "<y>"]


def extended_tokenizer(names: Sequence[str]) -> tuple[Any, set[int]]:
    """A tokenizer with new tokens, and their ids."""
    from transformers import AddedToken

    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=False) for name in names])
    return tokenizer, set(tokenizer.convert_tokens_to_ids(list(names)))


def model_with_new_tokens() -> tuple[Any, Any, OldTokenization]:
    """A model, its tokenizer with the tokens `NAMES`, and the old tokenization.

    The rows of the new tokens are so long that they would take every draw, were they allowed. The vocabulary is padded.
    """
    tokenizer, new_ids = extended_tokenizer(NAMES)
    model = make_model("qwen3", len(tokenizer) + 3)
    with torch.no_grad():
        model.get_input_embeddings().weight[min(new_ids) :] *= 100
    return model, tokenizer, OldTokenization(tokenizer, NAMES)


def random_corpus(count: int, seed: int = 0, phrases: list[list[int]] | None = None) -> DistilCorpus:
    """Random contexts with a phrase of old ids, or the one new id that stands for it."""
    rng = np.random.default_rng(seed)
    if phrases is None:
        phrases = [rng.integers(5, OLD, rng.integers(1, 5)).tolist() for _ in NEW_IDS]
    examples = []
    for n in range(count):
        before = [1, *rng.integers(5, OLD, rng.integers(0, 6)).tolist()]
        behind = rng.integers(5, OLD, rng.integers(0 if n % 5 == 0 else 1, 7)).tolist()
        which = n % len(phrases)
        teacher, student = before + phrases[which] + behind, [*before, OLD + which, *behind]
        examples.append(DistilExample(teacher, student, shared_end(teacher, student), len(before)))
    return DistilCorpus(examples)


def collated(corpus: DistilCorpus) -> Any:
    """All examples of a corpus as one batch."""
    return DistilCollator(corpus, PAD)(range(len(corpus.examples)))


def states_of(model: Any, ids: list[int], layer: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (T, d) of a layer and logits (T, V) of one sequence, by the model's own forward."""
    outputs = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return outputs.hidden_states[-1 if layer is None else layer][0], outputs.logits[0].float()
