"""Add tokens to a tokenizer, and check that each is one id, also inside text and after saving and loading."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gti_cli import console
from gti_cli.checkpoints.loading import load_tokenizer
from gti_cli.checkpoints.new_tokens import NewTokens, check_tokenizer
from gti_cli.checkpoints.token_names import parse_name
from gti_cli.errors import InputError, list_some
from gti_cli.vocabulary.old_words import split_old_words, token_texts
from gti_cli.vocabulary.tokens_to_add import TokensToAdd

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Remedies in error lines.
_GAPS = "the ids of this tokenizer have gaps, so tokens cannot be added to it: renumber it, or choose another model"
_WHOLE = "choose other names: one of them may be part of another"


def grow_tokenizer(tokenizer: PreTrainedTokenizerBase, names: list[str]) -> NewTokens:
    """Add tokens, each of which becomes one id inside any text and is kept when special tokens are skipped.

    A token that would cut old words in two (``moth`` in ``mother``) is recognised as a whole word only.

    Args:
        tokenizer: The tokenizer, changed in place.
        names: The new tokens.

    Raises:
        InputError: When the tokenizer gives a new token the id of another one, because its ids have gaps.
    """
    from tokenizers import AddedToken

    taken = set(tokenizer.get_vocab().values())
    # special=False: decoding with skip_special_tokens must keep the tokens. normalized=False: the text is searched for
    # them before it is normalised, so that they are found with any letters around them.
    # single_word only where old words would be cut: elsewhere a new word may be inflected ("zorps").
    whole = split_old_words(tokenizer, names)
    tokenizer.add_tokens(
        [AddedToken(name, normalized=False, special=False, single_word=name in whole) for name in names]
    )
    ids = np.asarray(tokenizer.convert_tokens_to_ids(names), dtype=np.int64)
    clash = [name for name, number in zip(names, ids.tolist(), strict=True) if number in taken]
    if clash or len(set(ids.tolist())) < len(names):
        raise InputError(
            f"the tokenizer gives new tokens ids that others have: {list_some(clash or names)}", remedy=_GAPS
        )
    places = [parse_name(name) or (-1, -1) for name in names]
    levels, codes = np.asarray(places, dtype=np.int32).reshape(-1, 2).T
    return NewTokens(names, ids, levels, codes)


def refuse_known_tokens(tokenizer: PreTrainedTokenizerBase, tokens: TokensToAdd, model: str) -> None:
    """Refuse tokens that the tokenizer has already: by name, or as the one token that it makes of their text.

    Args:
        tokenizer: The tokenizer before the new tokens are added.
        tokens: The new tokens.
        model: Name or folder of the model, for the error line.

    Raises:
        InputError: When there is such a token.
    """
    vocabulary = tokenizer.get_vocab()
    clash = [name for name in tokens.all_names if name in vocabulary]
    if tokens.table is None:
        if clash:
            raise InputError(
                f"the tokenizer has these tokens already: {list_some(clash)}",
                where=model,
                remedy="start from the model before it was extended",
            )
        return
    known = set(clash) | set(tokens.names).intersection(token_texts(tokenizer).values())
    encoded = tokenizer(tokens.names, add_special_tokens=False)["input_ids"]
    for row, (name, ids) in enumerate(zip(tokens.names, encoded, strict=True), start=1):
        if name in known or (len(ids) == 1 and str(tokenizer.decode(ids)).strip() == name.strip()):
            raise InputError(
                f"the tokenizer of {model} has a token for {name!r} already, and could not tell the two apart",
                where=f"{tokens.table}, column 'token', row {row:,}",
                remedy=f"drop the row, or choose another name, such as <{name.strip()}>",
            )


def check_saved(folder: Path, before: dict[str, int], tokens: NewTokens) -> None:
    """Load a saved tokenizer, and make sure that old ids are as before and each new token is one id.

    Warns if decoding puts a space between a new token and the text behind it, as tokenizers of the first Llama do.

    Args:
        folder: Folder of the saved tokenizer.
        before: Ids of all tokens before the extension, by name.
        tokens: The new tokens.

    Raises:
        InputError: When an id is another one after saving and loading, or a new token is split.
    """
    tokenizer = load_tokenizer(str(folder))
    try:
        check_tokenizer(tokenizer, tokens)
    except InputError as cause:
        raise InputError(f"after saving and loading, {cause.problem}", remedy=_GAPS) from cause
    vocabulary = tokenizer.get_vocab()
    moved = [name for name, number in before.items() if vocabulary.get(name) != number]
    if moved:
        raise InputError(f"after saving and loading, old tokens have other ids: {list_some(moved)}", remedy=_GAPS)
    split = [
        name
        for name, number in zip(tokens.names, tokens.ids.tolist(), strict=True)
        if tokenizer.encode(name, add_special_tokens=False) != [number]
    ]
    if split:
        raise InputError(f"the tokenizer does not keep these tokens whole: {list_some(split)}", remedy=_WHOLE)
    name = tokens.names[0]
    if _survives_decoding(tokenizer, "xy") and not _survives_decoding(tokenizer, f"x{name}y"):
        console.warn(
            f"this tokenizer puts a space between a new token and the text behind it ('x{name}y' is decoded with a "
            "space); it does so with every added token. Sequences of new tokens alone are exact"
        )


def _survives_decoding(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    """Return whether encoding and decoding give the same text."""
    return str(tokenizer.decode(tokenizer.encode(text, add_special_tokens=False))).strip() == text
