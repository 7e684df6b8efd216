"""Do the new tokens mean what they should? Find an item by a text that was held out, among all items there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from gti_cli.decoding.beam import TrieTensors, beam_search
from gti_cli.decoding.trie import build_trie
from gti_cli.prompts.next_item import opening_ids
from gti_cli.prompts.pairs import DEFAULT_TEMPLATES, TO_TOKENS, Pair, Templates, encode_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_BEAMS = 10
_BATCH = 16


@dataclass(frozen=True)
class Catalogue:
    """The semantic IDs that exist.

    Attributes:
        codes: (N, L) int32. tokens: N strings, as in pairs. code_ids: L arrays, token id of each code of a level.
    """

    codes: npt.NDArray[np.int32]
    tokens: list[str]
    code_ids: list[npt.NDArray[np.int64]]


def retrieval(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    catalogue: Catalogue,
    pairs: Sequence[Pair],
    templates: Templates = DEFAULT_TEMPLATES,
) -> dict[str, float]:
    """Decode the semantic ID of each pair's text, constrained to those that exist, with 10 beams.

    Returns:
        ``retrieval@1`` and ``retrieval@10``: share of pairs whose semantic ID is among the first 1 or 10;
        ``retrieval_chance@1`` and ``@10``: of a draw without looking; ``retrieval_prefix_1`` …: share whose best
        semantic ID is right in its first n codes. Items that share a semantic ID count as one.
    """
    trie = build_trie(catalogue.codes)
    device = model.device
    tensors = TrieTensors(trie, catalogue.code_ids, device)
    leaf_of = {tuple(codes): leaf for leaf, codes in enumerate(trie.leaf_codes.tolist())}
    codes_of = dict(zip(catalogue.tokens, catalogue.codes.tolist(), strict=True))
    wanted = np.asarray([leaf_of[tuple(codes_of[pair.tokens])] for pair in pairs])
    opened = opening_ids(tokenizer, catalogue.tokens[0])
    prompts = [[*example.prompt, *opened] for example in encode_pairs(tokenizer, pairs, TO_TOKENS, templates)]
    found = np.full((len(pairs), _BEAMS), -1)
    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n]))
    for start in range(0, len(order), _BATCH):
        places = order[start : start + _BATCH]
        ranking = beam_search(model, [prompts[n] for n in places], tensors, _BEAMS, int(tokenizer.pad_token_id or 0))
        found[places] = ranking.leaves
    hits = found == wanted[:, None]
    same = trie.leaf_codes[found[:, 0]] == trie.leaf_codes[wanted]
    by_level = np.logical_and.accumulate(same, axis=1).mean(axis=0).tolist()
    return {
        "retrieval@1": float(hits[:, 0].mean()),
        "retrieval@10": float(hits.any(axis=1).mean()),
        "retrieval_chance@1": 1 / trie.leaves,
        "retrieval_chance@10": min(10 / trie.leaves, 1.0),
        **{f"retrieval_prefix_{length}": share for length, share in enumerate(by_level, start=1)},
    }


T = TypeVar("T")


def sample(pairs: Sequence[T], most: int, seed: int) -> list[T]:
    """At most ``most`` pairs (or anything else), drawn with ``seed``, in their order."""
    if len(pairs) <= most:
        return list(pairs)
    drawn: Any = np.random.default_rng(seed).choice(len(pairs), most, replace=False)
    return [pairs[n] for n in sorted(drawn.tolist())]
