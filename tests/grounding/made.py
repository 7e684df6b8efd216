"""Small models and examples for the tests of grounding, and Algorithm 1 as the paper writes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from conftest import make_model
from torch.nn import functional

from gti_cli.prompts.examples import Example, collate

OLD, NEW, PAD = 60, 12, 0
VOCAB = OLD + NEW
NEW_IDS = torch.arange(OLD, VOCAB)
# Templates with a common beginning each; the second direction ends its prompt with new tokens.
HEADS = ([5, 6, 7, 8], [5, 6, 9], [5, 10, 11, 12, 13])


def model_of(kind: str, tied: bool = True, seed: int = 0, **more: Any) -> Any:
    """A random float32 model with `VOCAB` rows; biases too are random."""
    return make_model(kind, VOCAB, tied=tied, seed=seed, biased=True, max_position_embeddings=128, **more)


def examples_of(count: int, seed: int = 0) -> tuple[list[Example], list[int], list[int]]:
    """Random examples in both directions: (examples, kinds, groups)."""
    rng = np.random.default_rng(seed)
    found, kinds = [], []
    for _ in range(count):
        text = rng.integers(14, OLD, rng.integers(1, 9)).tolist()
        tokens = rng.integers(OLD, VOCAB, 3).tolist()
        kind = int(rng.integers(3))
        behind = [3, 4]
        if kind < 2:
            found.append(Example([*HEADS[kind], *text, *behind], [*tokens, 2]))
        else:
            found.append(Example([*HEADS[kind], *tokens, *behind], [*text, 2]))
        kinds.append(kind)
    return found, kinds, [int(kind == 2) for kind in kinds]


def masked_loss(model: Any, examples: list[Example]) -> torch.Tensor:
    """Mean negative log-likelihood of the answers' tokens, by the model's own forward on whole sequences."""
    batch = collate(examples, PAD)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), batch["labels"][:, 1:].flatten())


def algorithm_1(model: Any, batches: list[list[Example]], rate: float) -> list[float]:
    """Train in place: Adam on the whole matrices (and head bias), the gradient of old rows set to zero."""
    head = model.get_output_embeddings()
    trained = {id(p): p for p in (model.get_input_embeddings().weight, head.weight)}
    if getattr(head, "bias", None) is not None:
        trained[id(head.bias)] = head.bias
    model.requires_grad_(False)
    for parameter in trained.values():
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(list(trained.values()), lr=rate)
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        loss = masked_loss(model, batch)
        loss.backward()
        for parameter in trained.values():
            parameter.grad[:OLD] = 0
        optimizer.step()
        losses.append(loss.item())
    return losses
