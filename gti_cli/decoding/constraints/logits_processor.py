"""`SemanticIdLogitsProcessor`: lets ``generate`` of Hugging Face write semantic IDs that exist, and nothing else.

For those who serve a checkpoint with their own ``generate``. The trie is looked up for all beams at once, with a few
tensor operations for each level: nothing loops over beams or items.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from transformers import LogitsProcessor

from gti_cli.decoding.beam import TrieTensors
from gti_cli.decoding.trie import build_trie


class SemanticIdLogitsProcessor(LogitsProcessor):
    """Allows the tokens that continue to the semantic ID of an item: the opening, a code of each level, the closing.

    Then it allows the end of the text alone. Give it to ``generate`` as ``logits_processor=[…]``, with
    ``max_new_tokens=processor.new_tokens``. The logits of allowed tokens stay as they are, and all others become -inf.
    So a beam's score, with ``renormalize_logits=False`` and ``length_penalty=0``, is the log-probability that `gti
    recommend` gives the item, plus that of opening, closing and end.

    Attributes:
        levels: Number of codes in a semantic ID.
        new_tokens: Tokens of an answer: opening, codes, closing, and the end where there is one.
    """

    def __init__(
        self,
        codes: npt.NDArray[np.int32],
        token_ids: Sequence[npt.NDArray[np.int64]],
        *,
        prompt_length: int,
        eos_token_id: int | None = None,
        opening: Sequence[int] = (),
        closing: Sequence[int] = (),
    ) -> None:
        """Build the trie. `gti_cli.Recommender.logits_processor` gives all arguments but the first keyword.

        Args:
            codes: (N, L) semantic ID of each item that may be written.
            token_ids: L arrays. Token id of each code of a level.
            prompt_length: Number of tokens, padding included, of the prompts that ``generate`` gets.
            eos_token_id: Token that ends an answer. None: nothing is allowed behind an ID, which then has to be the
                last that is generated.
            opening: Token ids before the codes (``<|sid_begin|>``) that the prompts do not hold yet.
            closing: Token ids behind the codes (``<|sid_end|>``).
        """
        trie = build_trie(codes)
        self.levels, self.prompt_length = trie.levels, prompt_length
        self._opening, self._token_ids = list(opening), list(token_ids)
        self._closing = [*closing, *([eos_token_id] if eos_token_id is not None else [])]
        self._eos = eos_token_id
        self.new_tokens = len(self._opening) + self.levels + len(self._closing)
        self._trie = TrieTensors(trie, token_ids, torch.device("cpu"))
        # The nodes of a level in the order of (parent, code), as one ascending key: a child is found by bisection.
        self._sizes = [len(ids) for ids in token_ids]
        self._keys = []
        for starts, child_codes, size in zip(trie.starts, trie.codes, self._sizes, strict=True):
            parents = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
            self._keys.append(torch.from_numpy(parents * size + child_codes))
        width = max(int(ids.max()) for ids in token_ids) + 1
        self._code_of = []
        for ids in token_ids:
            table = torch.full((width,), -1, dtype=torch.long)
            table[torch.from_numpy(ids)] = torch.arange(len(ids))
            self._code_of.append(table)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Set the scores of all tokens that do not continue to an item to -inf.

        Args:
            input_ids: (R, T) prompts and what was generated.
            scores: (R, V) scores of the next token.

        Raises:
            ValueError: When the sequences are shorter than the prompts.
        """
        place = input_ids.shape[1] - self.prompt_length - len(self._opening)
        if place + len(self._opening) < 0:
            raise ValueError(f"sequences of {input_ids.shape[1]} tokens, but prompts of {self.prompt_length}")
        if 0 <= place < self.levels:
            tokens, allowed = self._children(input_ids[:, input_ids.shape[1] - place :].cpu())
            tokens, allowed = tokens.to(scores.device), allowed.to(scores.device)
        else:
            fixed = self._opening[place] if place < 0 else self._behind(place - self.levels)
            tokens = torch.full((len(scores), 1), 0 if fixed is None else fixed, device=scores.device)
            allowed = torch.full_like(tokens, fixed is not None, dtype=torch.bool)
        # Columns that are not allowed go to a token behind the last one, which is cut off.
        size = scores.shape[1]
        kept = scores.gather(1, tokens)
        out = scores.new_full((len(scores), size + 1), -torch.inf)
        out.scatter_(1, torch.where(allowed, tokens, size), kept)
        return out[:, :size]  # type: ignore[return-value]

    def _behind(self, place: int) -> int | None:
        """The only token that may stand ``place`` tokens behind the last code; None where nothing may."""
        return self._closing[place] if place < len(self._closing) else self._eos

    def _children(self, written: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens that may follow the codes written so far, (R, l): tokens (R, C), and which of them are allowed."""
        nodes = torch.zeros(len(written), dtype=torch.long)
        is_item = torch.ones(len(written), dtype=torch.bool)
        for level in range(written.shape[1]):
            tokens = written[:, level]
            table = self._code_of[level]
            codes = torch.where(tokens < len(table), table[tokens.clamp_max(len(table) - 1)], -1)
            keys = nodes * self._sizes[level] + codes
            places = torch.searchsorted(self._keys[level], keys).clamp_max(len(self._keys[level]) - 1)
            is_item &= (codes >= 0) & (self._keys[level][places] == keys)
            nodes = torch.where(is_item, places, 0)
        level = written.shape[1]
        tokens, _ = self._trie.children(level, nodes)
        allowed = torch.isfinite(self._trie.mask(level, nodes, torch.zeros(tokens.shape)))
        return tokens, allowed & is_item[:, None]
