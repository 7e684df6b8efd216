"""The question for a user's next item: first the wording, then the history as semantic IDs, and nothing behind it.

Because the wording stands before the history, all prompts begin with the same tokens, the template prefix. The search
computes that prefix once for all users, and training packs all prefixes of a history into one sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from gti_cli.checkpoints.token_names import text_before_codes
from gti_cli.errors import InputError, list_some
from gti_cli.prompts.chat import encode_prompt

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase

    from gti_cli.checkpoints.new_tokens import NewTokens
    from gti_cli.tables.arrays.row_lists import RowLists

DEFAULT_HISTORY = 20  # most recent items of a user that a prompt shows
SYSTEM = "You recommend items. Every item is written as a short run of code tokens."
WORDINGS = (
    "Name the item that comes next. Items so far, oldest first:\n",
    "A customer chose the items below in this order. Which one will be chosen after them?\n",
    "Carry on this sequence of items with one more:\n",
)

_TOKENIZED = 64  # items whose token ids by name are compared with what the tokenizer makes of them
_T = TypeVar("_T")


@dataclass(frozen=True)
class Frame:
    """The part of a next-item prompt that is the same for every user: the tokens before and behind the history.

    Attributes:
        before: Token ids up to the first item (the template prefix).
        behind: Token ids from the last item to the marker that opens the assistant's answer.
        opening: Token ids with which every item begins before its codes (``<|sid_begin|>``); empty where the token
            style has none.
    """

    before: list[int]
    behind: list[int]
    opening: list[int] = field(default_factory=list)

    def prompt(self, items: Sequence[Sequence[int]]) -> list[int]:
        """Return the prompt's token ids for a history, given the token ids of each item; equals `encode_history`."""
        return [*self.before, *(token for item in items for token in item), *self.behind]

    def search_prompts(self, histories: RowLists, item_tokens: npt.NDArray[np.int64]) -> RowLists:
        """Return `search_prompt` for many histories at once.

        Args:
            histories: Catalogue rows of each history.
            item_tokens: (N, W) token ids of each row.

        Returns:
            The token ids of each prompt.
        """
        import numpy as np

        from gti_cli.tables.arrays.ragged import offsets_of
        from gti_cli.tables.arrays.row_lists import RowLists

        width, end = item_tokens.shape[1], [*self.behind, *self.opening]
        lengths = len(self.before) + histories.lengths * width + len(end)
        offsets = offsets_of(lengths)
        ids = np.empty(int(offsets[-1]), dtype=np.int32)
        ids[offsets[:-1, None] + np.arange(len(self.before))] = self.before
        ids[offsets[1:, None] - len(end) + np.arange(len(end))] = end
        # The items of a history stand behind each other; the prompts differ in what stands before the first of them.
        before = np.repeat(offsets[:-1] + len(self.before) - histories.offsets[:-1] * width, histories.lengths)
        starts = before + np.arange(len(histories.rows)) * width
        ids[starts[:, None] + np.arange(width)] = item_tokens[histories.rows]
        return RowLists(ids, offsets)

    def search_prompt(self, items: Sequence[Sequence[int]]) -> list[int]:
        """Return the prompt and the opening of the answer: the next token is an item's first code."""
        return [*self.prompt(items), *self.opening]


def encode_history(tokenizer: PreTrainedTokenizerBase, item_tokens: Sequence[str], wording: int = 0) -> list[int]:
    """Return the token ids of the prompt for a history.

    Args:
        tokenizer: Tokenizer of the extended model.
        item_tokens: Each item's tokens, e.g. ``"<a_12><b_3>"``, oldest first.
        wording: Index into `WORDINGS`.
    """
    return encode_prompt(tokenizer, SYSTEM, WORDINGS[wording] + "".join(item_tokens))


def make_frame(tokenizer: PreTrainedTokenizerBase, item_tokens: str, wording: int = 0) -> Frame:
    """Find the tokens that `encode_history` puts before and behind any history.

    With the frame, template and tokenizer run once instead of once for each user.

    Args:
        tokenizer: Tokenizer of the extended model.
        item_tokens: The tokens of any one item.
        wording: Index into `WORDINGS`.

    Raises:
        InputError: When the tokenizer merges the item's tokens with the words around them.
    """
    whole = encode_history(tokenizer, [item_tokens], wording)
    item = list(tokenizer(item_tokens, add_special_tokens=False)["input_ids"])
    places = [at for at in range(len(whole) - len(item) + 1) if whole[at : at + len(item)] == item]
    if len(places) != 1:
        raise InputError(
            f"the tokenizer does not keep {item_tokens!r} apart from the words around it",
            remedy="give a checkpoint whose new tokens 'gti extend' added",
        )
    return Frame(whole[: places[0]], whole[places[0] + len(item) :], opening_ids(tokenizer, item_tokens))


def opening_ids(tokenizer: PreTrainedTokenizerBase, item_tokens: str) -> list[int]:
    """Return the token ids with which every item begins before its first code; a search over codes starts behind them.

    Args:
        tokenizer: Tokenizer of the extended model.
        item_tokens: The tokens of any one item.
    """
    text = text_before_codes(item_tokens)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def cut_history(items: Sequence[_T], most: int | None) -> tuple[list[_T], int]:
    """Keep the most recent items of a history.

    Args:
        items: A user's items, oldest first.
        most: Number of items to keep; None keeps all.

    Returns:
        The items that were kept, and the number of items that were cut.
    """
    cut = 0 if most is None else max(len(items) - most, 0)
    return list(items[cut:]), cut


def encode_items(
    tokenizer: PreTrainedTokenizerBase, item_tokens: Sequence[str], new_tokens: NewTokens
) -> npt.NDArray[np.int64]:
    """Return the token ids of items, for prompts and for answers.

    Args:
        tokenizer: Tokenizer of the extended model.
        item_tokens: Each item's tokens.
        new_tokens: New tokens of the same checkpoint.

    Returns:
        (N, W) int64: a row for each item, with the tokens for begin and end where the token style has them.

    Raises:
        InputError: When some item has a token that is not one of the checkpoint's new tokens.
    """
    import numpy as np

    from gti_cli.geometry.sampling import evenly

    by_name = _ids_by_name(item_tokens, new_tokens)
    if by_name is not None:
        some = evenly(len(item_tokens), _TOKENIZED)
        encoded = tokenizer([item_tokens[row] for row in some.tolist()], add_special_tokens=False)["input_ids"]
        if encoded == by_name[some].tolist():
            return by_name
    encoded = tokenizer(list(item_tokens), add_special_tokens=False)["input_ids"]
    new_ids = set(new_tokens.ids.tolist())
    wrong = [
        text
        for text, ids in zip(item_tokens, encoded, strict=True)
        if not new_ids.issuperset(ids) or len(ids) != len(encoded[0])
    ]
    if wrong:
        raise InputError(
            f"the checkpoint's tokenizer does not know the semantic IDs {list_some(wrong)}",
            remedy="these semantic IDs and this checkpoint do not belong together: run 'gti extend' on them",
        )
    return np.asarray(encoded, dtype=np.int64)


def _ids_by_name(item_tokens: Sequence[str], new_tokens: NewTokens) -> npt.NDArray[np.int64] | None:
    """The token ids of items without a tokenizer, which takes a minute for a million items.

    Args:
        item_tokens: Each item's tokens. Every name ends with ``>``, and has it nowhere else.
        new_tokens: New tokens of the checkpoint.

    Returns:
        (N, W); None where items differ in the number of their tokens, or have other tokens than the new ones.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = pc.split_pattern(pa.array(item_tokens, pa.large_string()), ">")
    counts = np.asarray(parts.value_lengths())
    width = int(counts[0]) - 1 if len(counts) else 0
    if width < 1 or bool((counts != width + 1).any()):
        return None
    encoded = parts.flatten().dictionary_encode()
    id_of = dict(zip(new_tokens.names, new_tokens.ids.tolist(), strict=True))
    # Behind the last name of an item stands an empty part.
    ids = np.asarray([id_of.get(f"{name}>", -1) for name in encoded.dictionary.to_pylist()], dtype=np.int64)
    ends = np.asarray([not name for name in encoded.dictionary.to_pylist()], dtype=bool)
    codes = np.asarray(encoded.indices).reshape(-1, width + 1)
    found: npt.NDArray[np.int64] = ids[codes[:, :-1]]
    return found if bool(ends[codes[:, -1]].all()) and not bool((found < 0).any()) else None
