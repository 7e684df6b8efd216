"""Names of semantic-ID tokens, and the list of new tokens that every checkpoint of ours carries.

A code c of level l is the token ``<a_c>`` for l = 0, ``<b_c>`` for l = 1, … (style ``lc-rec``: as LC-Rec, LETTER and
MiniOneRec write them), or ``<s_a_c>``, ``<s_b_c>``, … (style ``onerec``: as OpenOneRec's checkpoints have them and the
engine FlashRec expects them). In the latter an item is its codes between ``<|sid_begin|>`` and ``<|sid_end|>``, whose
ids come right behind that of the last code; they are new tokens and no codes.

``new_tokens.parquet`` in a checkpoint folder lists name, id, level and code, so that a checkpoint says by itself which
of its rows are new, also where the new ids are no contiguous block at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import tables
from gti_cli.errors import InputError, examples
from gti_cli.workspace.manifest import canonical_digest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase

NEW_TOKENS_FILE = "new_tokens.parquet"
_NAME = re.compile(r"<(?:s_)?([a-z])_(\d+)>")
MAX_LEVELS = 26
LC_REC, ONEREC = "lc-rec", "onerec"
TOKEN_STYLES = (LC_REC, ONEREC)
BEGIN, END = "<|sid_begin|>", "<|sid_end|>"


@dataclass(frozen=True)
class NewTokens:
    """The new tokens of a checkpoint, n of them.

    Attributes:
        names: as the tokenizer writes them.
        ids: (n,) int64 token ids, all different.
        levels: (n,) int32 level of the semantic ID, -1 for tokens that are no codes.
        codes: (n,) int32 code within the level, -1 likewise.
    """

    names: list[str]
    ids: npt.NDArray[np.int64]
    levels: npt.NDArray[np.int32]
    codes: npt.NDArray[np.int32]

    @property
    def digest(self) -> str:
        """SHA-256 over the names in order."""
        return canonical_digest(self.names)

    @property
    def style(self) -> str:
        """In which of `TOKEN_STYLES` its codes are named."""
        return ONEREC if BEGIN in self.names else LC_REC

    def described(self) -> npt.NDArray[np.int64]:
        """Numbers of the tokens that figures are about: the codes, where there are any, else all."""
        import numpy as np

        coded = np.flatnonzero(self.levels >= 0)
        return coded if len(coded) else np.arange(len(self.levels))


def token_name(level: int, code: int, style: str = LC_REC) -> str:
    """``token_name(0, 12) == "<a_12>"``; in the style ``onerec`` ``"<s_a_12>"``."""
    if not 0 <= level < MAX_LEVELS:
        raise ValueError(f"level {level} has no letter; at most {MAX_LEVELS} levels")
    return f"<{'s_' if style == ONEREC else ''}{chr(ord('a') + level)}_{code}>"


def parse_name(name: str) -> tuple[int, int] | None:
    """(level, code) of a semantic-ID token's name in either style, None for any other token."""
    match = _NAME.fullmatch(name)
    return (ord(match[1]) - ord("a"), int(match[2])) if match else None


def around(style: str) -> tuple[str, str]:
    """What stands before and behind the codes of an item."""
    return (BEGIN, END) if style == ONEREC else ("", "")


def semantic_id(codes: Sequence[int], style: str = LC_REC) -> str:
    """The tokens of an item: ``semantic_id([12, 3]) == "<a_12><b_3>"``; begin and end where the style has them."""
    before, behind = around(style)
    return before + "".join(token_name(level, int(code), style) for level, code in enumerate(codes)) + behind


def all_names(sizes: Sequence[int], style: str = LC_REC) -> list[str]:
    """Names of all codes of all levels, level by level, then of begin and end where the style has them.

    ``sizes`` has the number of codes of each level.
    """
    names = [token_name(level, code, style) for level, size in enumerate(sizes) for code in range(size)]
    return [*names, *filter(None, around(style))]


def opening(item_tokens: str) -> str:
    """What an item's tokens begin with before its first code: ``"<|sid_begin|>"``, or nothing."""
    first = _NAME.search(item_tokens)
    return item_tokens[: first.start()] if first else ""


def split_tokens(text: str) -> list[str]:
    """The codes in an item's tokens: ``"<a_12><b_3>"`` as ``["<a_12>", "<b_3>"]``."""
    return [match[0] for match in _NAME.finditer(text)]


def write_new_tokens(folder: Path, tokens: NewTokens) -> None:
    """Write ``new_tokens.parquet`` into a checkpoint folder."""
    columns = {"token": tokens.names, "id": tokens.ids, "level": tokens.levels, "code": tokens.codes}
    tables.write(folder / NEW_TOKENS_FILE, columns)


def read_new_tokens(folder: Path | str) -> NewTokens:
    """Read the list of new tokens of a checkpoint folder.

    Raises:
        InputError: the folder has none, so nothing says which of its tokens are new.
    """
    path = Path(folder) / NEW_TOKENS_FILE
    if not path.is_file():
        raise InputError(
            f"no {NEW_TOKENS_FILE}: this checkpoint has no new tokens that gti knows of",
            where=str(folder),
            remedy="give a checkpoint that 'gti extend' or a later stage wrote",
        )
    import numpy as np

    table = tables.read(path, ["token", "id", "level", "code"])
    return NewTokens(
        names=table.column("token").to_pylist(),
        ids=tables.integers(table, "id", path),
        levels=tables.integers(table, "level", path).astype(np.int32),
        codes=tables.integers(table, "code", path).astype(np.int32),
    )


def named_codes(vocabulary: Mapping[str, int]) -> NewTokens | None:
    """The tokens of a vocabulary (name -> id) named as codes, by level and code, then begin and end; None: no codes."""
    import numpy as np

    found = sorted((code, name) for name in vocabulary if (code := parse_name(name)) is not None)
    if not found:
        return None
    levels, codes = np.array([code for code, _ in found], dtype=np.int32).T
    names = [name for _, name in found]
    for name in (BEGIN, END):
        if name in vocabulary:
            names, levels, codes = [*names, name], np.append(levels, np.int32(-1)), np.append(codes, np.int32(-1))
    return NewTokens(names, np.array([vocabulary[name] for name in names], dtype=np.int64), levels, codes)


def joined(first: NewTokens, second: NewTokens) -> NewTokens:
    """Both lists, one behind the other; tokens of ``second`` that ``first`` has are left out."""
    import numpy as np

    known = set(first.names)
    more = [n for n, name in enumerate(second.names) if name not in known]
    return NewTokens(
        [*first.names, *(second.names[n] for n in more)],
        np.append(first.ids, second.ids[more]),
        np.append(first.levels, second.levels[more]),
        np.append(first.codes, second.codes[more]),
    )


def code_ids(tokens: NewTokens, sizes: Sequence[int]) -> list[npt.NDArray[np.int64]]:
    """Token ids of each level's codes: element l has shape (sizes[l],), indexed by code.

    Raises:
        InputError: the checkpoint lacks the token of a code.
    """
    import numpy as np

    places = zip(tokens.levels.tolist(), tokens.codes.tolist(), strict=True)
    known = dict(zip(places, tokens.ids.tolist(), strict=True))
    wanted = [(level, code) for level, size in enumerate(sizes) for code in range(size)]
    missing = [token_name(*place, tokens.style) for place in wanted if place not in known]
    if missing:
        raise InputError(
            f"the checkpoint lacks the tokens {examples(missing)}",
            remedy="these semantic IDs and this checkpoint do not belong together: run 'gti extend' on them",
        )
    flat = np.asarray([known[place] for place in wanted], dtype=np.int64)
    return np.split(flat, np.cumsum(sizes)[:-1])


def boundary_ids(tokens: NewTokens) -> tuple[int, int] | None:
    """Token ids of begin and end of an item, where the checkpoint's style has them."""
    known = dict(zip(tokens.names, tokens.ids.tolist(), strict=True))
    return (known[BEGIN], known[END]) if BEGIN in known and END in known else None


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, tokens: NewTokens) -> None:
    """Make sure that each new token is one id of ``tokenizer``, the id that the checkpoint's list says.

    Raises:
        InputError: tokenizer and list do not belong together.
    """
    found = [tokenizer.convert_tokens_to_ids(name) for name in tokens.names]
    wrong = [name for name, mine, listed in zip(tokens.names, found, tokens.ids, strict=True) if mine != listed]
    if wrong:
        raise InputError(f"the tokenizer has other ids for {examples(wrong)}", remedy="run 'gti extend' again")


def known_height(tokenizer: PreTrainedTokenizerBase) -> int:
    """Rows up to the tokenizer's last token; those behind are padding, untrained, and no part of any statistic."""
    return max(tokenizer.get_vocab().values()) + 1
