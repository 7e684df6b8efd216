"""A test of meaning: given a held-out text, does the model find the text's item among all items?

`nll.measures` runs it before and after the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gti_cli.decoding.beam import TrieTensors, beam_search
from gti_cli.decoding.trie import build_trie
from gti_cli.prompts.next_item import opening_ids
from gti_cli.prompts.pair_prompts import DEFAULT_TEMPLATES, TO_TOKENS, Pair, Templates, encode_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_BEAMS = 10
_BATCH = 16


@dataclass(frozen=True)
class ItemIndex:
    """The semantic IDs of all N items, among which one is searched for.

    Attributes:
        codes: (N, L) int32. Each item's codes.
        tokens: (N) each item's tokens, as in pairs.
        code_ids: (L) arrays. Token id of each code of a level.
    """

    codes: npt.NDArray[np.int32]
    tokens: Sequence[str]
    code_ids: list[npt.NDArray[np.int64]]


def retrieval(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    item_index: ItemIndex,
    pairs: Sequence[Pair],
    templates: Templates = DEFAULT_TEMPLATES,
) -> dict[str, float]:
    """Decode a semantic ID for each pair's text by a search with 10 beams, constrained to the IDs of items.

    Items that share a semantic ID count as one.

    Args:
        model: A causal LM in evaluation mode.
        tokenizer: Its tokenizer.
        item_index: The items.
        pairs: Texts, with the tokens of items of the index.
        templates: The wordings of the prompts.

    Returns:
        ``retrieval@1`` and ``retrieval@10``: share of pairs whose semantic ID is the best, or among the best 10.
        ``retrieval_chance@1`` and ``@10``: the same for a random guess. ``retrieval_prefix_1``, …: share of pairs
        whose best semantic ID has the right first n codes.
    """
    trie = build_trie(item_index.codes)
    tensors = TrieTensors(trie, item_index.code_ids, model.device)
    # A leaf of the trie is a distinct semantic ID. From the tokens of a pair to its codes, and on to its leaf:
    leaf_of = {tuple(codes): leaf for leaf, codes in enumerate(trie.leaf_codes.tolist())}
    codes_of = dict(zip(item_index.tokens, item_index.codes.tolist(), strict=True))
    right = np.asarray([leaf_of[tuple(codes_of[pair.tokens])] for pair in pairs])  # (P,)
    opening = opening_ids(tokenizer, item_index.tokens[0])
    prompts = [[*example.prompt, *opening] for example in encode_pairs(tokenizer, pairs, TO_TOKENS, templates)]
    ranked = np.full((len(pairs), _BEAMS), -1)  # leaves, best first; -1 where there are fewer items than beams
    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n]))
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        ranking = beam_search(model, [prompts[n] for n in batch], tensors, _BEAMS, int(tokenizer.pad_token_id or 0))
        ranked[batch] = ranking.leaves
    hits = ranked == right[:, None]
    same_code = trie.leaf_codes[ranked[:, 0]] == trie.leaf_codes[right]
    right_prefix = np.logical_and.accumulate(same_code, axis=1).mean(axis=0).tolist()
    return {
        "retrieval@1": float(hits[:, 0].mean()),
        "retrieval@10": float(hits.any(axis=1).mean()),
        "retrieval_chance@1": 1 / trie.leaves,
        "retrieval_chance@10": min(10 / trie.leaves, 1.0),
        **{f"retrieval_prefix_{length}": share for length, share in enumerate(right_prefix, start=1)},
    }
