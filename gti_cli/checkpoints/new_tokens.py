"""The list of new tokens that every checkpoint of `gti` carries.

The file ``new_tokens.parquet`` in a checkpoint folder lists name, id, level and code of each new token. So a checkpoint
says by itself which of its rows are new, also where the new ids are not one block at the end of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli import tables
from gti_cli.checkpoints.token_names import BEGIN, END, LC_REC, ONEREC, parse_name, token_name
from gti_cli.errors import InputError, list_some
from gti_cli.workspace.manifest import canonical_digest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase

NEW_TOKENS_FILE = "new_tokens.parquet"


@dataclass(frozen=True)
class NewTokens:
    """The n new tokens of a checkpoint.

    Attributes:
        names: The tokens as the tokenizer writes them.
        ids: (n,) int64 token ids, all different.
        levels: (n,) int32 level of each code in its semantic ID, -1 for tokens that are not codes.
        codes: (n,) int32 number of each code within its level, -1 for tokens that are not codes.
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
        """The one of `TOKEN_STYLES` in which the codes are named."""
        return ONEREC if BEGIN in self.names else LC_REC

    def codes_or_all(self) -> npt.NDArray[np.int64]:
        """Return the indices of the tokens that measurements cover: the codes, or all tokens where none is a code."""
        import numpy as np

        code_indices = np.flatnonzero(self.levels >= 0)
        return code_indices if len(code_indices) else np.arange(len(self.levels))


def write_new_tokens(folder: Path, tokens: NewTokens) -> None:
    """Write ``new_tokens.parquet`` into a checkpoint folder."""
    columns = {"token": tokens.names, "id": tokens.ids, "level": tokens.levels, "code": tokens.codes}
    tables.write(folder / NEW_TOKENS_FILE, columns)


def read_new_tokens(folder: Path | str) -> NewTokens:
    """Read the list of new tokens of a checkpoint folder.

    Raises:
        InputError: When the folder has no such list, so that nothing says which of its tokens are new.
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


def find_code_tokens(vocabulary: Mapping[str, int]) -> NewTokens | None:
    """Find the tokens of a vocabulary that are named like codes, and the boundary tokens beside them.

    Args:
        vocabulary: Token id for each name.

    Returns:
        The codes by level and number, then begin and end where the vocabulary has them; None where it has no codes.
    """
    import numpy as np

    named = sorted((level_and_code, name) for name in vocabulary if (level_and_code := parse_name(name)) is not None)
    if not named:
        return None
    levels, codes = np.array([level_and_code for level_and_code, _ in named], dtype=np.int32).T
    names = [name for _, name in named]
    for name in (BEGIN, END):
        if name in vocabulary:
            names, levels, codes = [*names, name], np.append(levels, np.int32(-1)), np.append(codes, np.int32(-1))
    return NewTokens(names, np.array([vocabulary[name] for name in names], dtype=np.int64), levels, codes)


def merge_new_tokens(first: NewTokens, second: NewTokens) -> NewTokens:
    """Append to the tokens of ``first`` those of ``second`` that it does not have."""
    import numpy as np

    in_first = set(first.names)
    added = [index for index, name in enumerate(second.names) if name not in in_first]
    return NewTokens(
        [*first.names, *(second.names[index] for index in added)],
        np.append(first.ids, second.ids[added]),
        np.append(first.levels, second.levels[added]),
        np.append(first.codes, second.codes[added]),
    )


def code_ids(tokens: NewTokens, sizes: Sequence[int]) -> list[npt.NDArray[np.int64]]:
    """Look up the token ids of all codes.

    Args:
        tokens: The checkpoint's new tokens.
        sizes: Number of codes of each level.

    Returns:
        For each level l an array (sizes[l],) of token ids, indexed by code.

    Raises:
        InputError: When the checkpoint lacks the token of a code.
    """
    import numpy as np

    levels_and_codes = zip(tokens.levels.tolist(), tokens.codes.tolist(), strict=True)
    id_of = dict(zip(levels_and_codes, tokens.ids.tolist(), strict=True))
    wanted = [(level, code) for level, size in enumerate(sizes) for code in range(size)]
    missing = [token_name(*pair, tokens.style) for pair in wanted if pair not in id_of]
    if missing:
        raise InputError(
            f"the checkpoint lacks the tokens {list_some(missing)}",
            remedy="these semantic IDs and this checkpoint do not belong together: run 'gti extend' on them",
        )
    flat = np.asarray([id_of[pair] for pair in wanted], dtype=np.int64)
    return np.split(flat, np.cumsum(sizes)[:-1])


def boundary_ids(tokens: NewTokens) -> tuple[int, int] | None:
    """Return the token ids of an item's begin and end, or None where the checkpoint's style has none."""
    id_of = dict(zip(tokens.names, tokens.ids.tolist(), strict=True))
    return (id_of[BEGIN], id_of[END]) if BEGIN in id_of and END in id_of else None


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, tokens: NewTokens) -> None:
    """Make sure that a tokenizer gives each new token the id that the checkpoint's list says.

    Raises:
        InputError: When it gives a token another id, so that tokenizer and list do not belong together.
    """
    ids = [tokenizer.convert_tokens_to_ids(name) for name in tokens.names]
    wrong = [name for name, actual, listed in zip(tokens.names, ids, tokens.ids, strict=True) if actual != listed]
    if wrong:
        raise InputError(f"the tokenizer has other ids for {list_some(wrong)}", remedy="run 'gti extend' again")
