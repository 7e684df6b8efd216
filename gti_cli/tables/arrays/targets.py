"""Targets and the histories before them: for each target two numbers, and a `History` for whoever looks at it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from gti_cli.tables.arrays.names import Names
from gti_cli.tables.arrays.ragged import offsets_of, owners_of, places_from
from gti_cli.tables.arrays.row_lists import RowLists
from gti_cli.tables.arrays.user_lists import Texts, UserLists

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

    @classmethod
    def of(cls, entries: Sequence[History]) -> Targets:
        """The targets themselves if they are arrays already, else copied into arrays."""
        import numpy as np

        if isinstance(entries, Targets):
            return entries
        code_of: dict[str, int] = {}
        lists = [[*entry.items, entry.target] for entry in entries]
        codes = [code_of.setdefault(item, len(code_of)) for items in lists for item in items]
        offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
        users = Names.of([entry.user_id for entry in entries])
        whole = UserLists(users, offsets, np.asarray(codes, dtype=np.int32), Texts(list(code_of)))
        return cls(whole, np.arange(len(lists), dtype=np.int64), offsets[1:] - 1)

    @classmethod
    def joined(cls, first: Sequence[History], second: Sequence[History]) -> Targets:
        """Some targets, and others behind them."""
        import numpy as np

        one, other = cls.of(first), cls.of(second)
        if not len(other):
            return one
        if one.lists is not other.lists:
            return cls.of([*first, *second])
        owners, places = np.concatenate([one.owners, other.owners]), np.concatenate([one.places, other.places])
        return cls(one.lists, owners, places)

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

    @property
    def item_ids(self) -> Names:
        """The id of each target."""
        return self.lists.texts.names.take(self.lists.codes[self.places])

    def histories(self, row_of: Mapping[str, int], most: int | None = None) -> RowLists:
        """Rows of the catalogue of the items before each target, oldest first.

        Args:
            row_of: Row of the catalogue of each item.
            most: Number of last items that are wanted. None: all.
        """
        import numpy as np

        kept = self.lengths if most is None else np.minimum(self.lengths, most)
        codes = self.lists.codes[places_from(self.places - kept, kept)]
        return RowLists(self.lists.texts.rows(row_of)[codes].astype(np.int32), offsets_of(kept))

    def are_repeats(self) -> npt.NDArray[np.bool_]:
        """(T,) whether each target is among the items before it."""
        import numpy as np

        before, owners = places_from(self.places - self.lengths, self.lengths), owners_of(self.lengths)
        is_target = self.lists.codes[before] == self.lists.codes[self.places][owners]
        return np.bincount(owners[is_target], minlength=len(self)) > 0

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
