"""The tokenizer as it was before the new tokens were added."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gti_cli.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class OldTokenization:
    """The tokenizer as it was before the new tokens came: it takes a phrase apart also where a token has its name."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, names: Sequence[str]) -> None:
        """Raises:
        InputError: it is no tokenizer of the tokenizers library, whose added tokens can be taken out.
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

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without the tokens that open or close a sequence."""
        return [list(found.ids) for found in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def ids(self) -> list[int]:
        """All old token ids, in order."""
        return sorted(self._tokenizer.get_vocab(with_added_tokens=True).values())
