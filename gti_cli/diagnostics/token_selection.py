"""Which tokens of a checkpoint are new and which are pretrained, by the tokenizer and what the user says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gti_cli import console, tables
from gti_cli.checkpoints.new_tokens import NEW_TOKENS_FILE, NewTokens, find_code_tokens, read_new_tokens
from gti_cli.checkpoints.token_names import BEGIN, END, parse_name
from gti_cli.errors import InputError, list_some

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
_MOST_SHAPES = 8  # alternatives of a pattern that an error line proposes


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a checkpoint's tokenizer.

    Attributes:
        tokenizer: The tokenizer itself.
        ids: Id of each token by name, added tokens included.
    """

    tokenizer: Tokenizer
    ids: dict[str, int]

    @cached_property
    def names(self) -> dict[int, str]:
        """Name of each token by id."""
        return {number: name for name, number in self.ids.items()}

    def word(self, token_id: int) -> str:
        """The decoded text of a token, without white space around it.

        Where no text is left, or where the token is only a part of a character, its name in the vocabulary instead.
        """
        text = self.tokenizer.decode([token_id], skip_special_tokens=False).strip()
        return text if text and "\ufffd" not in text else self.names.get(token_id, f"id {token_id}")


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """Read the folder's ``tokenizer.json``; None where there is no such file.

    Raises:
        InputError: When the file is damaged.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as cause:  # The tokenizers package raises plain Exception.
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
    code_sizes: Sequence[int] | None = None,
) -> NewTokens:
    """Find the new tokens of a checkpoint, sorted by level and code; tokens that are no codes come last, by id.

    Args:
        folder: The checkpoint's folder.
        vocabulary: The tokens of its tokenizer. None: it has no tokenizer.
        height: Number of rows of its input embedding.
        tokens_from: A text file with one token per line, a table with a column ``token``, or a regular expression that
            matches the whole name of each new token. It takes precedence over the folder's ``new_tokens.parquet``.
        base_vocab: The first id that is new. Together with ``tokens_from`` it only tells which ids are pretrained.
        code_sizes: Number of codes of each level of the workspace's semantic IDs. A checkpoint without a list of new
            tokens that has a token with the name of each of these codes, and no other code, has these as new tokens.

    Raises:
        InputError: When nothing says which tokens are new, when a listed token is not in the tokenizer or no token
            matches, when ids lie outside the matrix or occur twice, or when there are fewer than three new tokens.
    """
    if tokens_from is not None:
        tokens = _by_name(_selected_names(tokens_from, vocabulary, folder), vocabulary, folder)
    elif base_vocab is not None:
        tokens = _from_id(base_vocab, vocabulary, height, folder)
    elif (folder / NEW_TOKENS_FILE).is_file():
        tokens = read_new_tokens(folder)
    else:
        tokens = _codes_by_name(vocabulary, code_sizes, folder)
    outside = np.flatnonzero((tokens.ids < 0) | (tokens.ids >= height))
    if len(outside):
        raise InputError(
            f"the new token {tokens.names[outside[0]]!r} has id {tokens.ids[outside[0]]}, and the embedding has "
            f"{height:,} rows",
            where=str(folder),
            remedy="check that the tokenizer, the list of tokens and the weights belong together",
        )
    if len(set(tokens.ids.tolist())) < len(tokens.ids):
        raise InputError("the list of new tokens holds an id twice", where=str(folder), remedy="list each token once")
    if len(tokens.ids) < 3:
        raise InputError(
            f"only {len(tokens.ids)} new tokens; a diagnosis compares pairs of them",
            where=str(folder),
            remedy="give at least 3",
        )
    return _sorted_by_level(tokens)


def _codes_by_name(vocabulary: Vocabulary | None, sizes: Sequence[int] | None, folder: Path) -> NewTokens:
    """The tokens that have the names of the workspace's codes, where there are all of these and no others."""
    named = find_code_tokens(vocabulary.ids) if vocabulary is not None else None
    codes = set() if named is None else set(zip(named.levels.tolist(), named.codes.tolist(), strict=True)) - {(-1, -1)}
    if named is not None and codes == {(level, code) for level, size in enumerate(sizes or ()) for code in range(size)}:
        console.note(f"{folder}: its {len(codes):,} tokens with the names of the workspace's codes count as new")
        return named
    others = f"; its {len(codes):,} tokens named like codes are not those of the workspace" if codes and sizes else ""
    example = _pattern_for(vocabulary, [] if named is None else named.names)
    raise InputError(
        f"nothing says which of its tokens are new (no {NEW_TOKENS_FILE}{others})",
        where=str(folder),
        remedy=f"pass --tokens-from {example or 'FILE_OR_PATTERN'} or --base-vocab N (the vocabulary's size before)",
    )


def _pattern_for(vocabulary: Vocabulary | None, codes: Sequence[str]) -> str | None:
    """A pattern for ``--tokens-from``, quoted for a shell, that matches the codes of a tokenizer and no other token.

    Without codes, the tokens that were added to it and are not special. None where no short pattern does that.
    """
    if vocabulary is None:
        return None
    added = vocabulary.tokenizer.get_added_tokens_decoder().values()
    wanted = set(codes) or {token.content for token in added if not token.special}
    shapes = sorted({re.sub(r"[0-9]+", "[0-9]+", re.escape(name)) for name in wanted})
    pattern = re.compile("|".join(shapes))
    if not 0 < len(shapes) <= _MOST_SHAPES or any(pattern.fullmatch(name) for name in vocabulary.ids.keys() - wanted):
        return None
    return shlex.quote(pattern.pattern)


@tables.in_terms_of_the_file
def _selected_names(tokens_from: str, vocabulary: Vocabulary | None, folder: Path) -> list[str]:
    """The names that ``tokens_from`` lists (a file) or matches (a regular expression)."""
    location, path = tables.locate(tokens_from), Path(tokens_from)
    if location.is_table or path.is_file():
        if location.is_table:
            names = tables.strings(tables.read(location, ["token"]), "token", location)
        else:
            try:
                names = [line.strip() for line in path.read_text("utf-8").splitlines()]
            except UnicodeDecodeError as cause:
                raise InputError("is not UTF-8 text", where=str(path), remedy="give one token per line") from cause
        names = list(dict.fromkeys(name for name in names if name))
        if not names:
            raise InputError("lists no token", where=tokens_from, remedy="give one token per line")
        return names
    if path.suffix.lower() == ".txt":
        raise InputError("no such file", where=tokens_from, remedy="check the path")
    try:
        pattern = re.compile(tokens_from)
    except re.error as cause:
        raise InputError(
            f"--tokens-from {tokens_from!r} is neither a file nor a regular expression ({cause})",
            remedy="give a file or a pattern such as '<[a-d]_[0-9]+>'",
        ) from cause
    names = [name for name in _require_vocabulary(vocabulary, folder).ids if pattern.fullmatch(name)]
    if not names:
        raise InputError(
            f"--tokens-from {tokens_from!r} is no file, and as a pattern it matches no whole token",
            where=str(folder),
            remedy="give a file or a pattern such as '<[a-d]_[0-9]+>'",
        )
    return names


def _by_name(names: list[str], vocabulary: Vocabulary | None, folder: Path) -> NewTokens:
    ids = _require_vocabulary(vocabulary, folder).ids
    missing = [name for name in names if name not in ids]
    if missing:
        raise InputError(
            f"the tokenizer does not know {list_some(missing)}",
            where=str(folder),
            remedy="give the tokens that were added to this checkpoint",
        )
    return _with_levels_and_codes(names, [ids[name] for name in names])


def _from_id(base_vocab: int, vocabulary: Vocabulary | None, height: int, folder: Path) -> NewTokens:
    if not 0 < base_vocab < height:
        raise InputError(
            f"--base-vocab {base_vocab:,} leaves no new row: the embedding has {height:,} rows",
            where=str(folder),
            remedy="give the size of the vocabulary before tokens were added",
        )
    if vocabulary is None:
        ids = list(range(base_vocab, height))
        return _with_levels_and_codes([f"id {number}" for number in ids], ids)
    # Rows beyond the tokenizer's last token are padding, not tokens.
    ids = sorted(number for number in vocabulary.names if number >= base_vocab)
    if not ids:
        raise InputError(
            f"the tokenizer has no token with an id of {base_vocab:,} or more",
            where=str(folder),
            remedy="give the size of the vocabulary before tokens were added",
        )
    return _with_levels_and_codes([vocabulary.names[number] for number in ids], ids)


def _with_levels_and_codes(names: list[str], ids: list[int]) -> NewTokens:
    """The tokens with the level and code that a name such as ``<a_12>`` says; -1 for both where it is no such name."""
    places = [parse_name(name) or (-1, -1) for name in names]
    levels, codes = (np.asarray(column, dtype=np.int32) for column in zip(*places, strict=True))
    return NewTokens(names, np.asarray(ids, dtype=np.int64), levels, codes)


def _sorted_by_level(tokens: NewTokens) -> NewTokens:
    """Sort by level and code.

    The tokens that mark begin and end of an item have no meaning of their own. Where they are listed beside codes, only
    the codes stay.
    """
    chosen = tokens.codes_or_all() if {BEGIN, END} & set(tokens.names) else slice(None)
    names = np.asarray(tokens.names, dtype=object)[chosen].tolist()
    tokens = NewTokens(names, tokens.ids[chosen], tokens.levels[chosen], tokens.codes[chosen])
    order = np.lexsort((tokens.ids, tokens.codes, np.where(tokens.levels < 0, np.iinfo(np.int32).max, tokens.levels)))
    names = [tokens.names[row] for row in order]
    return NewTokens(names, tokens.ids[order], tokens.levels[order], tokens.codes[order])


def _require_vocabulary(vocabulary: Vocabulary | None, folder: Path) -> Vocabulary:
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
    """Ids (p,) of the pretrained tokens, rising: every token of the tokenizer that is not new.

    Args:
        tokens: The new tokens.
        vocabulary: The tokens of the tokenizer. None: every row of the matrix counts as a token.
        height: Number of rows of the matrix.
        before: Number of rows before tokens were added; only smaller ids are pretrained. None: not known.

    Raises:
        InputError: When fewer than three are left.
    """
    limit = height if before is None else min(before, height)
    is_pretrained = np.ones(limit, dtype=bool)
    if vocabulary is not None:
        is_pretrained[:] = False
        markers = {vocabulary.ids[name] for name in (BEGIN, END) if name in vocabulary.ids}
        ids = np.fromiter((number for number in vocabulary.names if number not in markers), dtype=np.int64)
        is_pretrained[ids[ids < limit]] = True
    is_pretrained[tokens.ids[tokens.ids < limit]] = False
    pretrained = np.flatnonzero(is_pretrained)
    if len(pretrained) < 3:
        raise InputError(
            f"only {len(pretrained)} tokens are not new, which are too few to compare the new rows with",
            remedy="check --tokens-from and --base-vocab",
        )
    return pretrained
