"""How far a model and its tokenizer reach: the positions of the model, and the matrix rows that have a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gti_cli.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_positions(config: Any, tokens: int, where: str, *, remedy: str) -> None:
    """Refuse an example that is longer than the positions of the model reach.

    Args:
        config: Configuration of the model.
        tokens: Number of tokens in the longest example.
        where: The checkpoint, for the error line.
        remedy: What the caller can do about it, for the error line.

    Raises:
        InputError: When the model has fewer positions than the example has tokens.
    """
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    if most is not None and tokens > most:
        raise InputError(
            f"an example has {tokens:,} tokens, more than the {most:,} positions of the model",
            where=where,
            remedy=remedy,
        )


def count_used_rows(tokenizer: PreTrainedTokenizerBase) -> int:
    """Count the rows of an embedding matrix up to the one of the tokenizer's last token.

    A matrix may have more rows than that, as padding. They are untrained, and no statistic may include them.
    """
    return max(tokenizer.get_vocab().values()) + 1
