"""Contexts that the frozen model writes itself: it continues a phrase, and the phrase's token is trained in that text.

The authors of Token Distillation (arXiv 2505.20133) take such snippets from a corpus or, without one, from the model.
Called by `distil.task`; the snippets become uses in `distil.contexts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from gti_cli.checkpoints.configuration import cache_argument
from gti_cli.grounding.distil.batches import start_id
from gti_cli.grounding.distil.contexts import NEUTRAL, PLACE, Phrases
from gti_cli.grounding.distil.old_tokenization import OldTokenization

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SNIPPET_TOKENS = 32  # most tokens that the model writes after a phrase
_BATCH = 32

Snippets = dict[tuple[str, str], list[tuple[str, str]]]  # (text, tokens) -> (text before, text after) of each snippet
_Prompt = tuple[tuple[str, str], str, list[int]]  # (text, tokens), text before the phrase, token ids of both


@torch.no_grad()
def sample_snippets(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    old: OldTokenization,
    phrases: Phrases,
    count: int,
    seed: int,
) -> Snippets:
    """Let a model continue each different phrase, by sampling old tokens from its own distribution.

    The text before a phrase is in turn nothing, or the beginning of a neutral context.

    Args:
        model: A causal LM.
        tokenizer: Its tokenizer.
        old: The same without the new tokens.
        phrases: The phrases.
        count: Snippets for each phrase.
        seed: Seed of the sampling.

    Returns:
        Texts before and after each phrase. The text after it is ``""`` where the model ended at once.
    """
    prompts = _prompts(tokenizer, old, phrases, count)
    special = set(tokenizer.all_special_ids)
    ends = {token for token in (tokenizer.eos_token_id,) if isinstance(token, int)}
    allowed = torch.zeros(_rows(model), dtype=torch.bool)
    allowed[[token for token in old.ids() if token not in special or token in ends]] = True
    # Prompts of one length need no padding. Drawing on the CPU gives every device the same random numbers.
    generator = torch.Generator().manual_seed(seed)
    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n][2]))
    written: dict[int, list[int]] = {}
    while order:
        length = len(prompts[order[0]][2])
        same_length = [n for n in order[:_BATCH] if len(prompts[n][2]) == length]
        order = order[len(same_length) :]
        texts = _continue(model, [prompts[n][2] for n in same_length], allowed, ends, generator)
        written |= zip(same_length, texts, strict=True)
    snippets: Snippets = {}
    for n, (phrase, before, _) in enumerate(prompts):
        # The last token may end inside a character. Its bytes decode to the replacement character, which is removed.
        snippets.setdefault(phrase, []).append((before, str(tokenizer.decode(written[n])).rstrip("\ufffd")))
    return snippets


def _prompts(tokenizer: PreTrainedTokenizerBase, old: OldTokenization, phrases: Phrases, count: int) -> list[_Prompt]:
    """The texts to continue: ``count`` for each different phrase, each with the next of the neutral beginnings."""
    opening = start_id(tokenizer)
    beginnings = list(dict.fromkeys(context.partition(PLACE)[0] for context in NEUTRAL))
    different = dict.fromkeys(zip(phrases.texts, phrases.tokens, strict=True))
    pairs = [(phrase, beginnings[n % len(beginnings)]) for phrase in different for n in range(count)]
    encoded = old.encode([before + text for (text, _), before in pairs])
    return [(phrase, before, [opening, *ids]) for (phrase, before), ids in zip(pairs, encoded, strict=True)]


def _continue(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    allowed: torch.Tensor,
    ends: set[int],
    generator: torch.Generator,
) -> list[list[int]]:
    """Sample at most `SNIPPET_TOKENS` tokens after each of B prompts of one length, at temperature 1."""
    ids = torch.tensor(prompts, dtype=torch.int64)
    name = cache_argument(type(model).forward, model.config)
    assert name is not None, "models without a cache are refused before"
    cache: Any = None
    drawn = []
    for _ in range(SNIPPET_TOKENS):
        outputs: Any = model(input_ids=ids.to(model.device), use_cache=True, logits_to_keep=1, **{name: cache})
        cache = getattr(outputs, name)
        logits = outputs.logits[:, -1].float().cpu().masked_fill(~allowed, -torch.inf)
        ids = torch.multinomial(logits.softmax(-1), 1, generator=generator)
        drawn.append(ids)
    return [_until(row, ends) for row in torch.cat(drawn, dim=1).tolist()]


def _until(ids: Sequence[int], ends: set[int]) -> list[int]:
    """The ids before the first that ends a text."""
    stop = next((n for n, token in enumerate(ids) if token in ends), len(ids))
    return list(ids[:stop])


def _rows(model: PreTrainedModel) -> int:
    """V, the rows of the embedding matrix, with padding."""
    embedding: Any = model.get_input_embeddings()
    return len(embedding.weight)
