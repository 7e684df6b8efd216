"""Names of semantic-ID tokens, and the list of new tokens that every checkpoint of ours carries.

A code c of level l is the token ``<a_c>`` for l = 0, ``<b_c>`` for l = 1, … (as LC-Rec, LETTER and MiniOneRec write
them). ``new_tokens.parquet`` in a checkpoint folder lists name, id, level and code, so that a checkpoint says by itself
which of its rows are new, also where the new ids are no contiguous block at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import tables
from gti_cli.errors import InputError, examples
from gti_cli.manifest import canonical_digest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase

NEW_TOKENS_FILE = "new_tokens.parquet"
_NAME = re.compile(r"<([a-z])_(\d+)>")
MAX_LEVELS = 26


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


def token_name(level: int, code: int) -> str:
    """``token_name(0, 12) == "<a_12>"``."""
    if not 0 <= level < MAX_LEVELS:
        raise ValueError(f"level {level} has no letter; at most {MAX_LEVELS} levels")
    return f"<{chr(ord('a') + level)}_{code}>"


def parse_name(name: str) -> tuple[int, int] | None:
    """(level, code) of a semantic-ID token's name, None for any other token."""
    match = _NAME.fullmatch(name)
    return (ord(match[1]) - ord("a"), int(match[2])) if match else None


def semantic_id(codes: Sequence[int]) -> str:
    """The tokens of an item, level by level: ``semantic_id([12, 3]) == "<a_12><b_3>"``."""
    return "".join(token_name(level, int(code)) for level, code in enumerate(codes))


def all_names(sizes: Sequence[int]) -> list[str]:
    """Names of all codes of all levels, level by level; ``sizes`` has the number of codes of each level."""
    return [token_name(level, code) for level, size in enumerate(sizes) for code in range(size)]


def split_tokens(text: str) -> list[str]:
    """Split ``"<a_12><b_3>"`` into its tokens."""
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
    """The tokens of a vocabulary (name -> id) that are named as codes, by level and code; None where none are."""
    import numpy as np

    found = sorted((code, name) for name in vocabulary if (code := parse_name(name)) is not None)
    if not found:
        return None
    levels, codes = np.array([code for code, _ in found], dtype=np.int32).T
    names = [name for _, name in found]
    return NewTokens(names, np.array([vocabulary[name] for name in names], dtype=np.int64), levels, codes)


def code_ids(tokens: NewTokens, sizes: Sequence[int]) -> list[npt.NDArray[np.int64]]:
    """Token ids of each level's codes: element l has shape (sizes[l],), indexed by code.

    Raises:
        InputError: the checkpoint lacks the token of a code.
    """
    import numpy as np

    known = dict(zip(tokens.names, tokens.ids.tolist(), strict=True))
    wanted = all_names(sizes)
    missing = [name for name in wanted if name not in known]
    if missing:
        raise InputError(
            f"the checkpoint lacks the tokens {examples(missing)}",
            remedy="these semantic IDs and this checkpoint do not belong together: run 'gti extend' on them",
        )
    flat = np.asarray([known[name] for name in wanted], dtype=np.int64)
    return np.split(flat, np.cumsum(sizes)[:-1])


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, tokens: NewTokens) -> None:
    """Make sure that each new token is one id of ``tokenizer``, the id that the checkpoint's list says.

    Raises:
        InputError: tokenizer and list do not belong together.
    """
    found = [tokenizer.convert_tokens_to_ids(name) for name in tokens.names]
    wrong = [name for name, mine, listed in zip(tokens.names, found, tokens.ids, strict=True) if mine != listed]
    if wrong:
        raise InputError(f"the tokenizer has other ids for {examples(wrong)}", remedy="run 'gti extend' again")
