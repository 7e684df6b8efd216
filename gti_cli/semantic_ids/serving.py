"""What engines that serve a checkpoint need to know of semantic IDs: the tuples that exist, and where tokens lie."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError, examples
from gti_cli.workspace.files import replacing


def write_catalog(path: Path, item_ids: Sequence[str], codes: npt.NDArray[np.int32]) -> None:
    """Write ``{"3,17,9": item id, …}``, the constraint that FlashRec reads (``--sid-vocab-file``), in catalogue order.

    Args:
        path: the JSON file, written under a temporary name and renamed. item_ids: N ids. codes: (N, L).

    Raises:
        InputError: items that share a tuple, which such a file cannot tell apart.
    """
    catalog: dict[str, str] = {}
    for item, row in zip(item_ids, codes.tolist(), strict=True):
        key = ",".join(map(str, row))
        if key in catalog:
            raise InputError(
                f"items share a semantic ID ({examples([catalog[key], item])}), and the file has one item for each",
                remedy="build the IDs with --collisions next-best, sinkhorn or suffix",
            )
        catalog[key] = item
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(catalog, ensure_ascii=False), "utf-8")


def layout(ids: Sequence[npt.NDArray[np.int64]]) -> str:
    """``START:END/SIZE,SIZE,…`` for token ids of the levels' codes: first and last id, and codes of each level.

    Args:
        ids: L arrays (K_l,), indexed by code.

    Raises:
        InputError: the ids are not one ascending run, so no range says where they lie.
    """
    flat = np.concatenate(list(ids))
    if (np.diff(flat) != 1).any():
        raise InputError(
            "the tokens of the codes do not lie in one run of ids, as serving engines expect",
            remedy="extend a model whose tokenizer has none of these tokens yet",
        )
    return f"{flat[0]}:{flat[-1]}/{','.join(str(len(level)) for level in ids)}"


def flashrec_flags(ids: Sequence[npt.NDArray[np.int64]], boundary: tuple[int, int] | None) -> tuple[list[str], str]:
    """What FlashRec (0.1.2) must be told of the tokens beside the catalogue, and what it will get wrong ("": nothing).

    It reads names of the style ``onerec`` by itself, but for catalogues of four levels, whose last it takes for the
    boundary tokens. Told a layout, it takes the two ids behind it for begin and end of an item, puts begin behind every
    prompt, and takes a last level of two codes for these two.

    Args:
        ids: L arrays (K_l,), indexed by code. boundary: ids of begin and end, where the names have them.

    Raises:
        InputError: see `layout`.
    """
    where, behind = layout(ids), int(ids[-1][-1])
    if boundary == (behind + 1, behind + 2) and len(ids) != 4:
        return [], ""
    problem = ""
    if len(ids[-1]) == 2:
        problem = "FlashRec takes the last level, which has two codes, for tokens that begin and end an item"
    elif boundary != (behind + 1, behind + 2):
        problem = (
            f"FlashRec puts the token {behind + 1} behind every prompt, to begin an item, and this checkpoint was not "
            "trained so: build the IDs with --token-style onerec to serve them with it"
        )
    return ["--sid", where], problem
