"""The interactions of a table, divided by items: what may be trained on, and by what choices are made."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gti_cli.tables.arrays.query_lists import QueryLists
from gti_cli.tables.arrays.targets import History, with_targets
from gti_cli.tables.arrays.user_lists import Texts, UserLists
from gti_cli.tables.cold_start.held_out_items import HeldOutItems
from gti_cli.tables.histories import SPLITS, Interactions, Splits, split
from gti_cli.tables.queries import Queries


def without_items(interactions: Interactions, items: Collection[str]) -> Interactions:
    """Take all interactions with some items out of a table.

    The others keep the part of the data that they had: where leave-one-out made a held-out item a user's test target,
    the item before it does not become one.

    Args:
        interactions: The table.
        items: Ids of the items.

    Returns:
        The rest. Users without any other interaction are left out.
    """
    import numpy as np

    lists = interactions.lists
    is_taken = np.fromiter((text in items for text in lists.texts), dtype=bool, count=len(lists.texts))
    kept = ~is_taken[lists.codes]
    rest = lists.where(kept)
    parts = UserLists(lists.users, lists.offsets, interactions.parts().astype(np.int32), Texts(SPLITS))
    texts = {column: UserLists.of(by_user).where(kept) for column, by_user in interactions.texts.items()}
    undecided = interactions.undecided
    if undecided is not None:
        undecided = undecided[kept]
    return replace(interactions, items=rest, split=parts.where(kept), texts=texts, undecided=undecided)


def without_pairs(queries: Queries, items: Collection[str]) -> tuple[Queries, int]:
    """Take the pairs of a query and one of some items out of the training and validation queries.

    Args:
        queries: The queries.
        items: Ids of the items.

    Returns:
        The queries, and the number of pairs that were taken out.
    """
    known = replace(
        queries,
        train=QueryLists.of(queries.train).without(items),
        valid=QueryLists.of(queries.valid).without(items),
    )
    before, after = (
        sum(len(QueryLists.of(queries_of_part).places()) for queries_of_part in (part.train, part.valid))
        for part in (queries, known)
    )
    return known, before - after


@dataclass(frozen=True)
class ColdSplits:
    """Interactions divided by items, beside the division into training, validation and test.

    Attributes:
        known: Interactions without any held-out item, neither as a target nor in a history: all that is trained on.
            But ``test`` are all test targets, with whole histories: when an item is recommended, what a user did with
            other new items is known.
        valid: Validation targets with any item but those held out for the test, which are not in the histories either.
        cold_valid: Those of ``valid`` whose target is held out for validation.
        all_valid: All validation targets, with whole histories, as the targets of ``known.test``.
        counts: What was taken out, for the manifest.
    """

    known: Splits
    valid: Sequence[History]
    cold_valid: Sequence[History]
    all_valid: Sequence[History]
    counts: dict[str, int]


def split_by_items(interactions: Interactions, held: HeldOutItems) -> ColdSplits:
    """Divide interactions by items. Messages on stderr are about the whole table.

    Args:
        interactions: The table.
        held: The held-out items.

    Raises:
        InputError: When there is no target, with or without the held-out items.
    """
    everything = split(interactions)
    known = split(without_items(interactions, held.all), quiet=True)
    valid = split(without_items(interactions, held.test), quiet=True).valid
    cold_valid = with_targets(valid, held.valid)
    counts = {
        "held_out_test_items": len(held.test),
        "held_out_valid_items": len(held.valid),
        "held_out_train_interactions": _difference(everything, known, "train_interactions"),
        "held_out_valid_targets": _difference(everything, known, "valid_targets"),
        "held_out_users": len(everything.train) - len(known.train),
        "cold_valid_targets": len(cold_valid),
    }
    return ColdSplits(replace(known, test=everything.test), valid, cold_valid, everything.valid, counts)


def _difference(everything: Splits, known: Splits, count: str) -> int:
    return everything.counts[count] - known.counts[count]


def describe_taken_out(counts: Mapping[str, Any]) -> str:
    """One sentence about the counts of `split_by_items`."""
    return (
        f"{counts['held_out_test_items']:,} items are held out for the test and {counts['held_out_valid_items']:,} for "
        f"validation: {counts['held_out_train_interactions']:,} training interactions with them are left out, and "
        f"{counts['held_out_users']:,} users have no others"
    )
