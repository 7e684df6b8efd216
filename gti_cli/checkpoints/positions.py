"""How many positions a model knows."""

from __future__ import annotations

from typing import Any

from gti_cli.errors import InputError


def check_positions(config: Any, tokens: int, where: str, *, remedy: str) -> None:
    """Refuse an example of ``tokens`` tokens that is longer than the positions of the model with ``config`` reach.

    Raises:
        InputError: it is; ``where`` is the checkpoint.
    """
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    if most is not None and tokens > most:
        raise InputError(
            f"an example has {tokens:,} tokens, more than the {most:,} positions of the model",
            where=where,
            remedy=remedy,
        )
