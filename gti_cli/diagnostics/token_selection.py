"""Which tokens of a checkpoint are new, and what its tokens are called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.checkpoints.new_tokens import NEW_TOKENS_FILE, NewTokens, read_new_tokens
from gti_cli.checkpoints.token_names import BEGIN, END, parse_name
from gti_cli.errors import InputError, examples

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a checkpoint's tokenizer. ``ids``: name -> id, added tokens included."""

    tokenizer: Tokenizer
    ids: dict[str, int]

    @cached_property
    def names(self) -> dict[int, str]:
        """id -> name."""
        return {number: name for name, number in self.ids.items()}

    def word(self, token_id: int) -> str:
        """A token as people read it: decoded, white space around it removed.

        Its name where nothing is left, or where it is only some bytes of a character.
        """
        text = self.tokenizer.decode([token_id], skip_special_tokens=False).strip()
        return text if text and "\ufffd" not in text else self.names.get(token_id, f"id {token_id}")


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """The tokens of the folder's ``tokenizer.json``; None where there is none.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as cause:  # the package raises plain Exception
        raise InputError(
            f"cannot be read as a tokenizer: {cause}", where=str(path), remedy="write the checkpoint again"
        ) from cause
    return Vocabulary(tokenizer, tokenizer.get_vocab(with_added_tokens=True))


def find_new_tokens(
    folder: Path,
    vocabulary: Vocabulary | None,
    height: int,
    *,
    tokens_from: str | None = None,
    base_vocab: int | None = None,
) -> NewTokens:
    """The new tokens of a checkpoint, ordered by level and code where they have them, else by id.

    Args:
        folder: the checkpoint. vocabulary: its tokens. height: rows of its embedding.
        tokens_from: a text file with one token a line, a table with a ``token`` column, or a regular expression that
            the names of the new tokens match as a whole. Wins over the folder's own ``new_tokens.parquet``.
        base_vocab: ids from this on are new (alone); with ``tokens_from`` it only says which ids are pretrained.

    Raises:
        InputError: nothing says which tokens are new; none match; unknown to the tokenizer; ids outside the matrix.
    """
    if tokens_from is not None:
        tokens = _named(_wanted_names(tokens_from, vocabulary, folder), vocabulary, folder)
    elif base_vocab is not None:
        tokens = _from(base_vocab, vocabulary, height, folder)
    elif (folder / NEW_TOKENS_FILE).is_file():
        tokens = read_new_tokens(folder)
    else:
        raise InputError(
            f"nothing says which of its tokens are new (no {NEW_TOKENS_FILE})",
            where=str(folder),
            remedy="pass --tokens-from FILE_OR_PATTERN or --base-vocab N (the vocabulary's size before)",
        )
    outside = np.flatnonzero((tokens.ids < 0) | (tokens.ids >= height))
    if len(outside):
        raise InputError(
            f"the new token {tokens.names[outside[0]]!r} has id {tokens.ids[outside[0]]}, and the embedding has "
            f"{height:,} rows",
            where=str(folder),
            remedy="tokenizer or token list and weights do not belong together",
        )
    if len(set(tokens.ids.tolist())) < len(tokens.ids):
        raise InputError("the list of new tokens holds an id twice", where=str(folder), remedy="list each token once")
    if len(tokens.ids) < 3:
        raise InputError(
            f"only {len(tokens.ids)} new tokens; a diagnosis compares pairs of them", where=str(folder),
            remedy="give at least 3",
        )  # fmt: skip
    return _ordered(tokens)


def _wanted_names(tokens_from: str, vocabulary: Vocabulary | None, folder: Path) -> list[str]:
    path = Path(tokens_from)
    if path.is_file():
        if path.suffix.lower() in (".parquet", ".pq", ".csv", ".jsonl", ".json", ".ndjson"):
            names = tables.strings(tables.read(path, ["token"]), "token", path)
        else:
            try:
                names = [line.strip() for line in path.read_text("utf-8").splitlines()]
            except UnicodeDecodeError as cause:
                raise InputError("is no UTF-8 text", where=str(path), remedy="give one token a line") from cause
        names = list(dict.fromkeys(name for name in names if name))
        if not names:
            raise InputError("names no token", where=str(path), remedy="give one token a line")
        return names
    if path.suffix.lower() in (".txt", ".parquet", ".csv", ".jsonl", ".json"):
        raise InputError("no such file", where=tokens_from, remedy="check the path")
    try:
        pattern = re.compile(tokens_from)
    except re.error as cause:
        raise InputError(
            f"--tokens-from {tokens_from!r} is neither a file nor a regular expression ({cause})",
            remedy="give a file or a pattern such as '<[a-d]_[0-9]+>'",
        ) from cause
    names = [name for name in _require(vocabulary, folder).ids if pattern.fullmatch(name)]
    if not names:
        raise InputError(
            f"no token matches --tokens-from {tokens_from!r} as a whole (and there is no such file)",
            where=str(folder),
            remedy="give a file or a pattern such as '<[a-d]_[0-9]+>'",
        )
    return names


def _named(names: list[str], vocabulary: Vocabulary | None, folder: Path) -> NewTokens:
    known = _require(vocabulary, folder).ids
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(
            f"the tokenizer does not know {examples(missing)}",
            where=str(folder),
            remedy="give the tokens that were added to this checkpoint",
        )
    return _tokens(names, [known[name] for name in names])


def _from(base_vocab: int, vocabulary: Vocabulary | None, height: int, folder: Path) -> NewTokens:
    if not 0 < base_vocab < height:
        raise InputError(
            f"--base-vocab {base_vocab:,} leaves no new row: the embedding has {height:,}",
            where=str(folder),
            remedy="give the vocabulary's size before tokens were added",
        )
    if vocabulary is None:
        ids = list(range(base_vocab, height))
        return _tokens([f"id {number}" for number in ids], ids)
    # Rows behind the tokenizer's last token are padding, no tokens.
    ids = sorted(number for number in vocabulary.names if number >= base_vocab)
    if not ids:
        raise InputError(
            f"the tokenizer has no token with an id of {base_vocab:,} or more",
            where=str(folder),
            remedy="give the vocabulary's size before tokens were added",
        )
    return _tokens([vocabulary.names[number] for number in ids], ids)


def _tokens(names: list[str], ids: list[int]) -> NewTokens:
    places = [parse_name(name) or (-1, -1) for name in names]
    levels, codes = (np.asarray(column, dtype=np.int32) for column in zip(*places, strict=True))
    return NewTokens(names, np.asarray(ids, dtype=np.int64), levels, codes)


def _ordered(tokens: NewTokens) -> NewTokens:
    """Level by level, code by code. Begin and end of an item are no codes: beside codes they are left out."""
    among = tokens.codes_or_all() if {BEGIN, END} & set(tokens.names) else slice(None)
    names = np.asarray(tokens.names, dtype=object)[among].tolist()
    tokens = NewTokens(names, tokens.ids[among], tokens.levels[among], tokens.codes[among])
    order = np.lexsort((tokens.ids, tokens.codes, np.where(tokens.levels < 0, np.iinfo(np.int32).max, tokens.levels)))
    names = [tokens.names[row] for row in order]
    return NewTokens(names, tokens.ids[order], tokens.levels[order], tokens.codes[order])


def _require(vocabulary: Vocabulary | None, folder: Path) -> Vocabulary:
    if vocabulary is None:
        raise InputError(
            f"no {TOKENIZER_FILE}, so token names cannot be looked up",
            where=str(folder),
            remedy="save the tokenizer into the folder, or pass --base-vocab N",
        )
    return vocabulary


def pretrained_ids(
    tokens: NewTokens, vocabulary: Vocabulary | None, height: int, before: int | None
) -> npt.NDArray[np.int64]:
    """Ids (p,) of the tokens that are not new, rising: below ``before`` where known, and known to the tokenizer.

    Raises:
        InputError: fewer than three are left.
    """
    limit = height if before is None else min(before, height)
    known = np.ones(limit, dtype=bool)
    if vocabulary is not None:
        known[:] = False
        structural = {vocabulary.ids[name] for name in (BEGIN, END) if name in vocabulary.ids}
        ids = np.fromiter((number for number in vocabulary.names if number not in structural), dtype=np.int64)
        known[ids[ids < limit]] = True
    known[tokens.ids[tokens.ids < limit]] = False
    found = np.flatnonzero(known)
    if len(found) < 3:
        raise InputError(
            "hardly any token is left that is not new, so there is nothing to compare the new rows with",
            remedy="check --tokens-from and --base-vocab",
        )
    return found
