"""`gti ground --items`: which rows train where only new items are grounded.

New items mostly have codes that older items have, too. The rows of these mean something already: a grounding or a
fine-tuning has trained them. Only the rows of codes that stand in no other item train, on the texts of the new items.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gti_cli import console, tables
from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.errors import InputError
from gti_cli.grounding.options import GroundOptions
from gti_cli.tables import SemanticIDs
from gti_cli.tables.columns import refuse_unknown_items
from gti_cli.tables.sources.location import in_terms_of_the_file


@dataclass(frozen=True)
class NewItems:
    """The items to ground, and the rows that train.

    Attributes:
        items: Ids of the items.
        rows: (m,) numbers among the checkpoint's new tokens of those that stand in no other item of the workspace.
    """

    items: frozenset[str]
    rows: npt.NDArray[np.int64]


@in_terms_of_the_file
def read_new_items(path: Path | str, catalogue: SemanticIDs, tokens: NewTokens) -> NewItems:
    """Read the table of new items, and find the rows that only they have.

    Args:
        path: Table with the column ``item_id``.
        catalogue: All items of the workspace, the new ones among them.
        tokens: The checkpoint's new tokens.

    Raises:
        InputError: When an item has no semantic ID, or no code of the new items is without an older item.
    """
    table = tables.read(path, ["item_id"])
    listed = tables.ids(table, "item_id", path)
    row_of = catalogue.row_of()
    refuse_unknown_items(listed, row_of, path, "items")
    items = frozenset(listed)
    is_new = np.zeros(len(catalogue.item_ids), dtype=bool)
    is_new[[row_of[item] for item in items]] = True
    number_of = {pair: n for n, pair in enumerate(zip(tokens.levels.tolist(), tokens.codes.tolist(), strict=True))}
    rows = [
        number_of[level, code]
        for level in range(catalogue.codes.shape[1])
        for code in np.setdiff1d(catalogue.codes[is_new, level], catalogue.codes[~is_new, level]).tolist()
    ]
    if not rows:
        raise InputError(
            f"all codes of these {len(items):,} items stand in other items, too: there is no row to ground",
            where=str(path),
            remedy="use the checkpoint as it is: it can recommend these items already",
        )
    console.note(f"{len(rows):,} codes stand in these {len(items):,} items alone: no other row trains")
    return NewItems(items, np.asarray(sorted(rows), dtype=np.int64))


def check_options(options: GroundOptions, pairs: Path | str | None) -> None:
    """Refuse options that contradict ``--items``.

    Raises:
        InputError: When there are pairs as well, or something else than the new rows would change.
    """
    given = {
        "--pairs": pairs is not None,
        "--objective distil": options.objective != "nll",
        "--lora": options.lora,
        "--unfreeze-steps": bool(options.unfreeze_steps),
    }
    wrong = [flag for flag, is_given in given.items() if is_given]
    if wrong:
        raise InputError(
            f"--items grounds the items' own texts and leaves all other weights as they are, against {wrong[0]}",
            remedy=f"leave {wrong[0]} or --items out",
        )
