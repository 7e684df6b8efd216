"""Each user's items as three arrays, which look like a dictionary of lists to whoever reads them one by one.

Ten million interactions are 40 MB as numbers, and a hundred times that as lists of Python strings. So whoever goes over
all users asks for the arrays (`UserLists.rows`, `UserLists.offsets`); lists of single users are made on demand.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gti_cli.tables.arrays.item_rows import rows_of
from gti_cli.tables.arrays.names import Names
from gti_cli.tables.arrays.ragged import offsets_of, owners_of
from gti_cli.tables.arrays.row_lists import RowLists

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_AT_ONCE = 1 << 12  # users whose lists are made at a time


class Texts(Sequence[str]):
    """The different texts that codes stand for, and where each stands in a catalogue.

    Attributes:
        names: The texts as an array.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Keep the texts.

        Args:
            texts: Text of each code.
        """
        self.names = Names.of(texts)
        self._rows: tuple[Mapping[str, int], npt.NDArray[np.int64]] | None = None

    @cached_property
    def _texts(self) -> list[str]:
        """The texts as strings: made when somebody looks at one."""
        return list(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        return self._texts[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def rows(self, row_of: Mapping[str, int]) -> npt.NDArray[np.int64]:
        """(n,) the row of the catalogue of each text; -1 for one that the catalogue does not have.

        Args:
            row_of: Row of the catalogue of each item.
        """
        if self._rows is None or self._rows[0] is not row_of:
            self._rows = row_of, rows_of(row_of, self.names)
        return self._rows[1]

    def unknown(self, row_of: Mapping[str, int]) -> list[str]:
        """The texts that a catalogue does not have.

        Args:
            row_of: Row of the catalogue of each item.
        """
        import numpy as np

        return list(self.names.take(np.flatnonzero(self.rows(row_of) < 0)))


class UserLists(Mapping[str, list[str]]):
    """A list of texts for each of U users: item ids, or what is said of each item.

    As a mapping it gives each user's list, in the order of the users.

    Attributes:
        users: U user ids.
        offsets: (U + 1,) int64. The list of user n is ``codes[offsets[n] : offsets[n + 1]]``.
        codes: (M,) int32, one user behind the other: the number of each text among ``texts``.
        texts: The texts that the codes stand for, each once. Some may not occur.
    """

    def __init__(
        self, users: Names, offsets: npt.NDArray[np.int64], codes: npt.NDArray[np.int32], texts: Texts
    ) -> None:
        """Take the arrays; see the attributes."""
        self.users, self.offsets, self.codes, self.texts = users, offsets, codes, texts

    @classmethod
    def of(cls, lists: Mapping[str, Sequence[str]]) -> UserLists:
        """The lists themselves if they are arrays already, else copied into arrays."""
        import numpy as np

        if isinstance(lists, UserLists):
            return lists
        code_of: dict[str, int] = {}
        codes = [code_of.setdefault(text, len(code_of)) for texts in lists.values() for text in texts]
        offsets = np.cumsum([0, *map(len, lists.values())], dtype=np.int64)
        return cls(Names.of(lists), offsets, np.asarray(codes, dtype=np.int32), Texts(list(code_of)))

    def __len__(self) -> int:
        return len(self.users)

    def __iter__(self) -> Iterator[str]:
        return iter(self.users)

    def __eq__(self, other: object) -> bool:
        import numpy as np

        if isinstance(other, UserLists) and other.texts is self.texts:  # without a list for each user
            arrays = ((self.offsets, other.offsets), (self.codes, other.codes))
            return self.users.array.equals(other.users.array) and all(np.array_equal(a, b) for a, b in arrays)
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]

    def __contains__(self, user: object) -> bool:
        return user in self._number_of

    def __getitem__(self, user: str) -> list[str]:
        return self.list_of(self._number_of[user])

    def values(self) -> ValuesView[list[str]]:
        """The list of each user."""
        return _Lists(self)

    def items(self) -> ItemsView[str, list[str]]:
        """Each user with the list."""
        return _UsersWithLists(self)

    @cached_property
    def _number_of(self) -> dict[str, int]:
        """The number of each user: made when a user is first asked for by name."""
        return {user: number for number, user in enumerate(self.users)}

    def list_of(self, number: int) -> list[str]:
        """The list of the user with a number."""
        return self.texts_of(self.codes[self.offsets[number] : self.offsets[number + 1]])

    def texts_of(self, codes: npt.NDArray[np.int32]) -> list[str]:
        """The texts of some codes."""
        return [self.texts[code] for code in codes.tolist()]

    def all_lists(self) -> Iterator[list[str]]:
        """The list of each user, one after the other."""
        for start in range(0, len(self), _AT_ONCE):
            offsets = self.offsets[start : start + _AT_ONCE + 1]
            texts = self.texts_of(self.codes[offsets[0] : offsets[-1]])
            places = (offsets - offsets[0]).tolist()
            for number in range(len(places) - 1):
                yield texts[places[number] : places[number + 1]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(U,) length of each list."""
        import numpy as np

        lengths: npt.NDArray[np.int64] = np.diff(self.offsets)
        return lengths

    def owners(self) -> npt.NDArray[np.int64]:
        """(M,) the number of the user of each entry."""
        return owners_of(self.lengths)

    def rows(self, row_of: Mapping[str, int]) -> npt.NDArray[np.int32]:
        """(M,) int32 row of the catalogue of each item, one user behind the other.

        Args:
            row_of: Row of the catalogue of each item.

        Raises:
            KeyError: When the catalogue does not have an item.
        """
        import numpy as np

        of_code = self.texts.rows(row_of)
        rows = of_code.astype(np.int32)[self.codes]
        if len(rows) and int(of_code.min()) < 0 and (missing := np.flatnonzero(rows < 0)).size:
            raise KeyError(self.texts[int(self.codes[missing[0]])])
        return rows

    def part(self, start: int, stop: int) -> UserLists:
        """The lists of the users ``start`` to ``stop`` - 1."""
        start, stop, _ = slice(start, stop).indices(len(self))
        offsets = self.offsets[start : max(start, stop) + 1]
        codes = self.codes[offsets[0] : offsets[-1]]
        return UserLists(self.users[start:stop], offsets - offsets[0], codes, self.texts)

    def row_lists(self, row_of: Mapping[str, int]) -> RowLists:
        """Rows of the catalogue of each user's items.

        Args:
            row_of: Row of the catalogue of each item.
        """
        return RowLists(self.rows(row_of), self.offsets)

    def occurring(self) -> list[str]:
        """The texts that occur, each once."""
        return self.texts_of(self._codes_that_occur())

    def distinct(self) -> int:
        """The number of texts that occur."""
        return len(self._codes_that_occur())

    def _codes_that_occur(self) -> npt.NDArray[np.int32]:
        import numpy as np

        occurs = np.zeros(len(self.texts), dtype=bool)
        occurs[self.codes] = True
        return np.flatnonzero(occurs).astype(np.int32)

    def where(self, kept: npt.NDArray[np.bool_]) -> UserLists:
        """Some of the entries, without the users who have none of them.

        Args:
            kept: (M,) which entries stay.
        """
        import numpy as np

        lengths = np.diff(offsets_of(kept)[self.offsets])
        users = np.flatnonzero(lengths)
        names = self.users if len(users) == len(self.users) else self.users.take(users)
        return UserLists(names, offsets_of(lengths[users]), self.codes[kept], self.texts)


class _Lists(ValuesView[list[str]]):
    """The lists, without a look-up of each user."""

    def __init__(self, lists: UserLists) -> None:
        super().__init__(lists)
        self._lists = lists

    def __iter__(self) -> Iterator[list[str]]:
        return self._lists.all_lists()


class _UsersWithLists(ItemsView[str, list[str]]):
    """The users and their lists, without a look-up of each user."""

    def __init__(self, lists: UserLists) -> None:
        super().__init__(lists)
        self._lists = lists

    def __iter__(self) -> Iterator[tuple[str, list[str]]]:
        return zip(self._lists.users, self._lists.all_lists(), strict=True)
