"""The tokens to add to a vocabulary and what is known about them, from a workspace's semantic IDs or from a table."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.checkpoints.token_names import all_names
from gti_cli.errors import InputError
from gti_cli.tensors.codebooks import read_codebooks
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest


@dataclass(frozen=True)
class TokensToAdd:
    """n tokens that get rows of their own, with texts and vectors that say what they mean.

    Attributes:
        names: Names of the n tokens.
        descriptions: For each token a text about it ("" for none); an empty list if no token has one.
        item_texts: Texts of the N items of a catalogue, whose codes are the tokens.
        item_tokens: (N, L) int64, for each item the indices of its codes in `names`, level by level; None if the tokens
            are not codes.
        codebooks: For each level the codebook vectors (K_l, d_code), in the order of `names`.
        structural: Names of further tokens without a meaning of their own, the begin and end of an item. Their ids
            follow those of `names`.
        table: The file that the tokens were read from, one a row; None for semantic IDs.
    """

    names: list[str]
    descriptions: list[str] = field(default_factory=list)
    item_texts: list[str] = field(default_factory=list)
    item_tokens: npt.NDArray[np.int64] | None = None
    codebooks: list[npt.NDArray[np.float32]] = field(default_factory=list)
    structural: list[str] = field(default_factory=list)
    table: Path | None = field(default=None, compare=False)

    @property
    def all_names(self) -> list[str]:
        """Names of all new tokens in the order of their ids."""
        return [*self.names, *self.structural]


@tables.in_terms_of_the_file
def collect_tokens_to_add(
    space: Workspace, table_path: Path | str | None
) -> tuple[dict[str, Manifest], TokensToAdd, str | None]:
    """Read which tokens to add, and what is known about them.

    Args:
        space: The workspace with the semantic IDs.
        table_path: A table with the column `token` and perhaps `description` (None: the codes of the semantic IDs).

    Returns:
        The artifacts read, as `Workspace.stage` takes them; the tokens; and the identity of the semantic IDs (None
        with a table).

    Raises:
        InputError: When the workspace has no semantic IDs, the table cannot be read, or two of its tokens look
            alike.
    """
    if table_path is None:
        ids = space.require("semantic_ids", "gti build-ids")
        return {"semantic_ids": ids}, _codes_of(space, ids), ids.identity
    table = tables.read(table_path, ["token"])
    names = tables.ids(table, "token", table_path, unique=True)
    _refuse_alike(names, table_path)
    has_descriptions = "description" in table.column_names
    descriptions = tables.strings(table, "description", table_path) if has_descriptions else []
    return {}, TokensToAdd(names, descriptions, table=Path(table_path)), None


def _refuse_alike(names: Sequence[str], path: Path | str) -> None:
    """Refuse tokens that people cannot tell apart: white space alone, and names that differ in nothing else.

    Spaces at either end belong to a token (`` thee`` is the word behind another one), so they are kept. The same
    characters in another Unicode form (é as one character or two) look the same on any screen.
    """
    row_of: dict[str, int] = {}
    for row, name in enumerate(names, start=1):
        where = f"{path}, column 'token', row {row:,}"
        seen = unicodedata.normalize("NFC", name).strip()
        if not seen:
            raise InputError(f"the token {name!r} is white space alone", where=where, remedy="drop the row")
        first = row_of.setdefault(seen, row)
        if first != row:
            raise InputError(
                f"{name!r} and {names[first - 1]!r} (row {first:,}) differ in spaces or the form of a character alone",
                where=where,
                remedy="keep one of the two",
            )


def _codes_of(space: Workspace, ids: Manifest) -> TokensToAdd:
    """Return the codes of the semantic IDs, with those of items' texts and codebooks that the workspace has."""
    sizes = ids.details["sizes"]
    names = all_names(sizes, ids.details["token_style"])
    code_names, structural = names[: sum(sizes)], names[sum(sizes) :]
    codebooks: list[npt.NDArray[np.float32]] = []
    if "codebooks.safetensors" in ids.outputs:
        codebooks = read_codebooks(space.path("codebooks.safetensors"))
    if "items.parquet" not in ids.outputs:
        return TokensToAdd(code_names, codebooks=codebooks, structural=structural)
    items = space.path("items.parquet")
    table = tables.read(items, ["item_id", "text"])
    text_of = dict(zip(tables.ids(table, "item_id", items), tables.strings(table, "text", items), strict=True))
    semantic_ids = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    # `code_names` lists the levels one after the other: code c of level l stands at first_of_level[l] + c.
    first_of_level = np.cumsum([0, *sizes[:-1]])
    return TokensToAdd(
        code_names,
        item_texts=[text_of[item] for item in semantic_ids.item_ids],
        item_tokens=semantic_ids.codes + first_of_level,
        codebooks=codebooks,
        structural=structural,
    )
