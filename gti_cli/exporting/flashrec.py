"""The catalogue and the flags for FlashRec: the tuples of codes that exist, and the ids of their tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError, list_some
from gti_cli.workspace.files import replacing


def write_catalog(path: Path, item_ids: Sequence[str], codes: npt.NDArray[np.int32]) -> None:
    """Write ``{"3,17,9": item id, …}`` in catalogue order; FlashRec reads it (``--sid-vocab-file``) as its constraint.

    Args:
        path: The JSON file, written under a temporary name and renamed.
        item_ids: N ids.
        codes: (N, L).

    Raises:
        InputError: When items share a tuple, because the file holds one item for each tuple.
    """
    catalog: dict[str, str] = {}
    for item, row in zip(item_ids, codes.tolist(), strict=True):
        key = ",".join(map(str, row))
        if key in catalog:
            raise InputError(
                f"items share a semantic ID ({list_some([catalog[key], item])}), and the file has one item for each",
                remedy="build the IDs with --collisions next-best, sinkhorn or suffix",
            )
        catalog[key] = item
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(catalog, ensure_ascii=False), "utf-8")


def layout(ids: Sequence[npt.NDArray[np.int64]]) -> str:
    """Describe the token ids of all codes as ``START:END/SIZE,SIZE,…``.

    Args:
        ids: L arrays (K_l,), the token id of each code of each level.

    Returns:
        First and last id, and the number of codes of each level.

    Raises:
        InputError: When the ids do not ascend by one through all levels, so that no range describes them.
    """
    flat = np.concatenate(list(ids))
    if (np.diff(flat) != 1).any():
        raise InputError(
            "the tokens of the codes do not lie in one run of ids, as serving engines expect",
            remedy="extend a model whose tokenizer has none of these tokens yet",
        )
    return f"{flat[0]}:{flat[-1]}/{','.join(str(len(level)) for level in ids)}"


def flashrec_flags(ids: Sequence[npt.NDArray[np.int64]], boundary: tuple[int, int] | None) -> tuple[list[str], str]:
    """Flags that FlashRec (0.1.2) needs to find the tokens, and the problem that remains.

    FlashRec recognises token names of the style ``onerec`` without a flag, except in catalogues of four levels, where
    it mistakes the last level for the boundary tokens. Given a layout, it assumes that the two ids after it begin and
    end an item, appends the first of them to every prompt, and mistakes a last level of two codes for these two.

    Args:
        ids: L arrays (K_l,), the token id of each code of each level.
        boundary: Ids of the tokens that begin and end an item; None for a style without them.

    Returns:
        The flags, and a warning for the user ("" where FlashRec will work).

    Raises:
        InputError: See `layout`.
    """
    where, last = layout(ids), int(ids[-1][-1])
    if boundary == (last + 1, last + 2) and len(ids) != 4:
        return [], ""
    problem = ""
    if len(ids[-1]) == 2:
        problem = "FlashRec mistakes the last level, which has two codes, for the tokens that begin and end an item"
    elif boundary != (last + 1, last + 2):
        problem = (
            f"FlashRec appends the token {last + 1} to every prompt, to begin an item, and this checkpoint was not "
            "trained so: build the IDs with --token-style onerec to serve them with it"
        )
    return ["--sid", where], problem
