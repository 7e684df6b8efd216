"""Which tokens to add, and what is known about them: the semantic IDs of a workspace, or a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gti_cli import tables
from gti_cli.checkpoints.token_names import all_names
from gti_cli.tensors.codebooks import read_codebooks
from gti_cli.vocabulary.meaning import Meanings
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest


def wanted(space: Workspace, tokens: Path | str | None) -> tuple[dict[str, Manifest], Meanings, str | None]:
    """(upstream, the new tokens and what is known about them, identity of the semantic IDs)."""
    if tokens is None:
        ids = space.require("semantic_ids", "gti build-ids")
        return {"semantic_ids": ids}, _meanings_of_codes(space, ids), ids.identity
    table = tables.read(tokens, ["token"])
    names = tables.ids(table, "token", tokens, unique=True)
    described = "description" in table.column_names
    return {}, Meanings(names, tables.strings(table, "description", tokens) if described else []), None


def _meanings_of_codes(space: Workspace, ids: Manifest) -> Meanings:
    """The items' texts and codes, and the codebooks; whatever of it the workspace has."""
    sizes = ids.details["sizes"]
    names = all_names(sizes, ids.details["token_style"])
    codes = sum(sizes)
    items, codebooks = space.path("items.parquet"), space.path("codebooks.safetensors")
    levels: list[Any] = []
    if "codebooks.safetensors" in ids.outputs:
        levels = read_codebooks(codebooks)
    if "items.parquet" not in ids.outputs:
        return Meanings(names[:codes], codebooks=levels, structural=names[codes:])
    table = tables.read(items, ["item_id", "text"])
    texts = dict(zip(tables.ids(table, "item_id", items), tables.strings(table, "text", items), strict=True))
    known = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    starts = np.cumsum([0, *sizes[:-1]])
    return Meanings(
        names[:codes], [], [texts[item] for item in known.item_ids], known.codes + starts, levels, names[codes:]
    )
