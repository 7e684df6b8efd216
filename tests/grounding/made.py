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

EXTRA: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "gemma2": {"sliding_window": 64, "final_logit_softcapping": 5.0},
    "gemma3_text": {"sliding_window": 64},
}


def model_of(kind: str, tied: bool = True, seed: int = 0, **more: Any) -> Any:
    """A random float32 model with `VOCAB` rows; biases too are random."""
    from transformers import AutoConfig, AutoModelForCausalLM

    if kind not in EXTRA and not more:
        model = make_model(kind, VOCAB, tied=tied, seed=seed)
    else:
        fields = {
            "vocab_size": VOCAB,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 128,
            "tie_word_embeddings": tied,
            "initializer_range": 0.2,
            "eos_token_id": 2,
            "pad_token_id": 0,
            **EXTRA.get(kind, {}),
            **more,
        }
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **fields)).float().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_(0, 0.2)
    return model


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
