"""The question for a user's next item: the wording first, then the history as semantic IDs, nothing behind it.

The question stands before the history so that all prompts start with the same tokens: they are computed once for all
users in the search, and all prefixes of a history fit into one sequence in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from gti_cli.checkpoints.token_names import text_before_codes
from gti_cli.errors import InputError, examples
from gti_cli.prompts.chat import encode_prompt

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase

    from gti_cli.checkpoints.new_tokens import NewTokens

DEFAULT_HISTORY = 20  # most recent items of a user that a prompt shows
SYSTEM = "You recommend items. Every item is written as a short run of code tokens."
WORDINGS = (
    "Name the item that comes next. Items so far, oldest first:\n",
    "A customer chose the items below in this order. Which one will be chosen after them?\n",
    "Carry on this sequence of items with one more:\n",
)

_T = TypeVar("_T")


@dataclass(frozen=True)
class Frame:
    """What stands around the history, the same for every user.

    Attributes:
        before: token ids up to the first item. behind: ids from the last item to the assistant's opening.
        opening: ids of what every item begins with before its codes (``<|sid_begin|>``, or nothing).
    """

    before: list[int]
    behind: list[int]
    opening: list[int] = field(default_factory=list)

    def prompt(self, items: Sequence[Sequence[int]]) -> list[int]:
        """Token ids of the prompt for a history, given each item's token ids; equals `encode_history`."""
        return [*self.before, *(token for item in items for token in item), *self.behind]

    def search_prompt(self, items: Sequence[Sequence[int]]) -> list[int]:
        """`prompt` and the opening of the answer: behind it stands the first code, so from there codes are searched."""
        return [*self.prompt(items), *self.opening]


def encode_history(tokenizer: PreTrainedTokenizerBase, item_tokens: Sequence[str], wording: int = 0) -> list[int]:
    """Token ids of the prompt for a history.

    Args:
        tokenizer: of the extended model. item_tokens: each item's tokens, e.g. ``"<a_12><b_3>"``, oldest first.
        wording: which of `WORDINGS`.
    """
    return encode_prompt(tokenizer, SYSTEM, WORDINGS[wording] + "".join(item_tokens))


def frame(tokenizer: PreTrainedTokenizerBase, item_tokens: str, wording: int = 0) -> Frame:
    """What `encode_history` puts around any history: template and tokenizer run once, not once for each user.

    Args:
        tokenizer: of the extended model. item_tokens: the tokens of any one item. wording: which of `WORDINGS`.

    Raises:
        InputError: the tokenizer does not keep the item's tokens apart from the words around them.
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
    """Ids of what every item's tokens begin with before the first code; a search over codes starts behind it.

    Args:
        tokenizer: of the extended model. item_tokens: the tokens of any one item.
    """
    text = text_before_codes(item_tokens)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def cap(items: Sequence[_T], most: int | None) -> tuple[list[_T], int]:
    """Keep the ``most`` recent items of a history (None: all); returns them and the number that was cut."""
    cut = 0 if most is None else max(len(items) - most, 0)
    return list(items[cut:]), cut


def encode_items(
    tokenizer: PreTrainedTokenizerBase, item_tokens: Sequence[str], new_tokens: NewTokens
) -> npt.NDArray[np.int64]:
    """Token ids of items, begin and end included: (N, W) int64, for ``Frame.prompt`` and for answers.

    Args:
        tokenizer: of the extended model. item_tokens: each item's tokens. new_tokens: the checkpoint's own list.

    Raises:
        InputError: the tokenizer and the checkpoint do not know these tokens, each as one id of its own.
    """
    import numpy as np

    encoded = tokenizer(list(item_tokens), add_special_tokens=False)["input_ids"]
    known = set(new_tokens.ids.tolist())
    wrong = [
        text
        for text, ids in zip(item_tokens, encoded, strict=True)
        if not known.issuperset(ids) or len(ids) != len(encoded[0])
    ]
    if wrong:
        raise InputError(
            f"the checkpoint's tokenizer does not know the semantic IDs {examples(wrong)}",
            remedy="these semantic IDs and this checkpoint do not belong together: run 'gti extend' on them",
        )
    return np.asarray(encoded, dtype=np.int64)
