"""Lists as `gti recommend` passes them on, made of single lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gti_cli.decoding.ranked_items import ItemLists
from gti_cli.recommendation.listing.recommendations import ListedItems, Recommendation
from gti_cli.tables.arrays.names import Names


def listed_items(lines: Sequence[Recommendation], users: Sequence[str] = ()) -> ListedItems:
    """The lists that have these lines, which stand by user and rank; further users have empty lists.

    Args:
        lines: The lines.
        users: The users. Without any: those of the lines.
    """
    names = list(users) or list(dict.fromkeys(line.user_id for line in lines))
    lengths = [sum(line.user_id == name for line in lines) for name in names]
    proven = [all(line.proven for line in lines if line.user_id == name) for name in names]
    return ListedItems(
        Names.of(names),
        ItemLists(np.cumsum([0, *lengths]), np.arange(len(lines)), np.asarray([line.score for line in lines])),
        np.asarray(proven, dtype=bool),
        Names.of([line.item_id for line in lines]),
        Names.of([line.title for line in lines]),
    )
