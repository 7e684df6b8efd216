"""Contexts that the frozen model writes itself: it goes on from a phrase, and that is a context for the token.

The authors of token distillation (arXiv 2505.20133) take snippets of a corpus or, without one, of the model itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from gti_cli.grounding.distil.batches import start_id
from gti_cli.grounding.distil.contexts import NEUTRAL, PLACE, Phrases
from gti_cli.grounding.distil.old_tokenization import OldTokenization

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SNIPPET_TOKENS = 32  # how far the model goes on
_BATCH = 32

Snippets = dict[tuple[str, str], list[tuple[str, str]]]  # (text, tokens) -> (before, behind)
Prompt = tuple[tuple[str, str], str, list[int]]  # (text, tokens), what stands before the text, ids of both


@torch.no_grad()
def sample_snippets(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    old: OldTokenization,
    phrases: Phrases,
    count: int,
    seed: int,
) -> Snippets:
    """Let ``model`` go on ``count`` times from each different phrase, drawing from its own distribution of old tokens.

    The phrase stands at the beginning, or behind the beginning of one of our neutral contexts in turn.

    Returns:
        what stands before and behind each phrase; where the model ended at once, nothing (``""``) stands behind it.
    """
    prompts = _prompts(tokenizer, old, phrases, count)
    special = set(tokenizer.all_special_ids)
    ends = {found for found in (tokenizer.eos_token_id,) if isinstance(found, int)}
    allowed = torch.zeros(_vocabulary(model), dtype=torch.bool)
    allowed[[token for token in old.ids() if token not in special or token in ends]] = True
    # Prompts of one length need no padding; drawing on the CPU gives every device the same random numbers.
    generator = torch.Generator().manual_seed(seed)
    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n][2]))
    written: dict[int, list[int]] = {}
    while order:
        length = len(prompts[order[0]][2])
        places = [n for n in order[:_BATCH] if len(prompts[n][2]) == length]
        order = order[len(places) :]
        written |= zip(places, _go_on(model, [prompts[n][2] for n in places], allowed, ends, generator), strict=True)
    found: Snippets = {}
    for n, (phrase, before, _) in enumerate(prompts):
        # A character may be cut off at the end; what is left of it decodes to the replacement character.
        found.setdefault(phrase, []).append((before, str(tokenizer.decode(written[n])).rstrip("\ufffd")))
    return found


def _prompts(tokenizer: PreTrainedTokenizerBase, old: OldTokenization, phrases: Phrases, count: int) -> list[Prompt]:
    opening = start_id(tokenizer)
    befores = list(dict.fromkeys(context.partition(PLACE)[0] for context in NEUTRAL))
    different = dict.fromkeys(zip(phrases.texts, phrases.tokens, strict=True))
    asked = [(phrase, befores[n % len(befores)]) for phrase in different for n in range(count)]
    ids = old.encode([before + text for (text, _), before in asked])
    return [(phrase, before, [opening, *found]) for (phrase, before), found in zip(asked, ids, strict=True)]


def _go_on(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    allowed: torch.Tensor,
    ends: set[int],
    generator: torch.Generator,
) -> list[list[int]]:
    """Sample at most `SNIPPET_TOKENS` tokens behind each of B prompts of one length, at temperature 1."""
    ids = torch.tensor(prompts, dtype=torch.int64)
    cache: Any = None
    drawn = []
    for _ in range(SNIPPET_TOKENS):
        read: Any = model(input_ids=ids.to(model.device), past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = read.past_key_values
        logits = read.logits[:, -1].float().cpu().masked_fill(~allowed, -torch.inf)
        ids = torch.multinomial(logits.softmax(-1), 1, generator=generator)
        drawn.append(ids)
    return [_until(row, ends) for row in torch.cat(drawn, dim=1).tolist()]


def _until(ids: Sequence[int], ends: set[int]) -> list[int]:
    stop = next((n for n, token in enumerate(ids) if token in ends), len(ids))
    return list(ids[:stop])


def _vocabulary(model: PreTrainedModel) -> int:
    embedding: Any = model.get_input_embeddings()
    return len(embedding.weight)
