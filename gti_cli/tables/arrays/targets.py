"""Targets and the histories before them: for each target two numbers, and a `History` for whoever looks at it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from gti_cli.tables.arrays.names import Names
from gti_cli.tables.arrays.user_lists import UserLists

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class History:
    """A target and the interactions before it.

    Attributes:
        user_id: The user.
        items: The ids of all items before the target, in time order; at least one.
        target: The id of the item that should be recommended next.
    """

    user_id: str
    items: list[str]
    target: str


class Targets(Sequence[History]):
    """T targets, which are places in users' lists.

    Attributes:
        lists: The lists of all users.
        owners: (T,) int64. The number of each target's user.
        places: (T,) int64. Where each target stands in ``lists.codes``; its history is what stands before it there.
    """

    def __init__(self, lists: UserLists, owners: npt.NDArray[np.int64], places: npt.NDArray[np.int64]) -> None:
        """Take the arrays; see the attributes."""
        self.lists, self.owners, self.places = lists, owners, places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> History: ...

    @overload
    def __getitem__(self, index: slice) -> Targets: ...

    def __getitem__(self, index: int | slice) -> History | Targets:
        if isinstance(index, slice):
            return Targets(self.lists, self.owners[index], self.places[index])
        lists, owner, place = self.lists, int(self.owners[index]), int(self.places[index])
        *items, target = lists.texts_of(lists.codes[lists.offsets[owner] : place + 1])
        return History(lists.users[owner], items, target)

    def __iter__(self) -> Iterator[History]:
        return (self[number] for number in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def take(self, numbers: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Targets:
        """Some of the targets, by their numbers or by a mask."""
        return Targets(self.lists, self.owners[numbers], self.places[numbers])

    @property
    def users(self) -> Names:
        """The user of each target."""
        return self.lists.users.take(self.owners)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(T,) number of items before each target."""
        lengths: npt.NDArray[np.int64] = self.places - self.lists.offsets[self.owners]
        return lengths

    def rows(self, row_of: Mapping[str, int]) -> npt.NDArray[np.int64]:
        """(T,) row of the catalogue of each target.

        Args:
            row_of: Row of the catalogue of each item.
        """
        rows: npt.NDArray[np.int64] = self.lists.texts.rows(row_of)[self.lists.codes[self.places]]
        return rows


def with_targets(entries: Sequence[History], items: Collection[str], *, among: bool = True) -> Sequence[History]:
    """Those whose target is, or is not, one of some items.

    Args:
        entries: Targets and their histories.
        items: Ids of the items.
        among: Keep those whose target is one of the items; False: the others.
    """
    import numpy as np

    if not isinstance(entries, Targets):
        return [entry for entry in entries if (entry.target in items) == among]
    texts = entries.lists.texts
    is_one = np.fromiter((text in items for text in texts), dtype=bool, count=len(texts))
    return entries.take(is_one[entries.lists.codes[entries.places]] == among)


def last_items(entries: Sequence[History], most: int, row_of: Mapping[str, int]) -> npt.NDArray[np.int64]:
    """The items that are among the last ones of a history: rows of the catalogue, each once and rising.

    Args:
        entries: Targets and their histories.
        most: Number of last items of a history.
        row_of: Row of the catalogue of each item.
    """
    import numpy as np

    if not isinstance(entries, Targets):
        return np.unique(np.asarray([row_of[i] for entry in entries for i in entry.items[-most:]], dtype=np.int64))
    lists, occurs = entries.lists, np.zeros(len(entries.lists.texts), dtype=bool)
    first = lists.offsets[entries.owners]
    for back in range(1, min(most, int(entries.lengths.max(initial=0))) + 1):
        places = entries.places - back
        occurs[lists.codes[places[places >= first]]] = True
    return np.unique(lists.texts.rows(row_of)[occurs])
