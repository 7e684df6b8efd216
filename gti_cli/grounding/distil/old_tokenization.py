"""The tokenizer as it was before the new tokens were added."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gti_cli.errors import InputError
from gti_cli.prompts.text_as_data import DataEncoder, is_reserved

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class OldTokenization:
    """A copy of a tokenizer without its new tokens, which splits a phrase into old tokens whatever the new ones are."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, names: Sequence[str]) -> None:
        """Copy a tokenizer.

        Args:
            tokenizer: The extended tokenizer.
            names: Its new tokens.

        Raises:
            InputError: When it is not a tokenizer of the ``tokenizers`` library: only from those can tokens be removed.
        """
        from tokenizers import Tokenizer

        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise InputError(
                f"{type(tokenizer).__name__} cannot be used without its new tokens",
                remedy="use a checkpoint with a tokenizer.json, or --objective nll",
            )
        state = json.loads(backend.to_str())
        state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in set(names)]
        self._tokenizer = Tokenizer.from_str(json.dumps(state))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        left = {
            token["id"]: token["content"]
            for token in state["added_tokens"]
            if is_reserved(token["content"], token["special"])
        }
        self._encoder = DataEncoder(self._encode_one, left)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without the special tokens that open or close a sequence.

        The texts are data: a name of a control token in them is read as text (see `gti_cli.prompts.text_as_data`).
        """
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        free = self._encoder.is_free
        return [ids if free(ids) else self._encoder.encode([(t, True)]) for t, ids in zip(texts, encoded, strict=True)]

    def _encode_one(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def ids(self) -> list[int]:
        """All old token ids, in ascending order."""
        return sorted(self._tokenizer.get_vocab(with_added_tokens=True).values())
