"""A list of catalogue rows, or of token ids, for each of many users, as two arrays."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from gti_cli.tables.arrays.ragged import offsets_of, owners_of, places_from

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class RowLists(Sequence[list[int]]):
    """A list of catalogue rows for each of U users.

    Attributes:
        rows: (M,) int32, one user behind the other.
        offsets: (U + 1,) int64. The list of user n is ``rows[offsets[n] : offsets[n + 1]]``.
    """

    def __init__(self, rows: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]) -> None:
        """Take the arrays; see the attributes."""
        self.rows, self.offsets = rows, offsets

    @classmethod
    def of(cls, lists: Sequence[Collection[int]]) -> RowLists:
        """The lists themselves if they are arrays already, else copied into arrays."""
        import numpy as np

        if isinstance(lists, RowLists):
            return lists
        offsets = offsets_of(lengths_of(lists))
        return cls(np.fromiter(chain.from_iterable(lists), np.int32, int(offsets[-1])), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(U,) length of each list."""
        import numpy as np

        lengths: npt.NDArray[np.int64] = np.diff(self.offsets)
        return lengths

    def owners(self) -> npt.NDArray[np.int64]:
        """(M,) the number of the user of each entry."""
        return owners_of(self.lengths)

    def has(self, users: npt.NDArray[np.int64], rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which of (n,) catalogue rows stand in the lists of (n,) users.

        Args:
            users: Numbers of users, rising.
            rows: A catalogue row for each of them.
        """
        import numpy as np

        if not len(users):
            return np.zeros(0, dtype=bool)
        first, last = int(users[0]), int(users[-1]) + 1
        listed = self.rows[self.offsets[first] : self.offsets[last]].astype(np.int64)
        owners = first + owners_of(self.lengths[first:last])
        width = 1 + max(int(rows.max()), int(listed.max(initial=0)))
        return np.isin(users * width + rows, owners * width + listed)

    def distinct(self) -> npt.NDArray[np.int64]:
        """(U,) number of different rows in each list."""
        import numpy as np

        width = 1 + int(self.rows.max(initial=0))
        return np.bincount(np.unique(self.owners() * width + self.rows) // width, minlength=len(self)).astype(np.int64)

    def last(self, most: int | None) -> RowLists:
        """The last ``most`` rows of each list; None: all."""
        import numpy as np

        if most is None or not len(self) or int(self.lengths.max()) <= most:
            return self
        kept = np.minimum(self.lengths, most)
        return RowLists(self.rows[places_from(self.offsets[1:] - kept, kept)], offsets_of(kept))

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self.rows[self.offsets[number] : self.offsets[number + 1]].tolist()


def lengths_of(lists: Sequence[Collection[int]]) -> npt.NDArray[np.int64]:
    """(U,) length of each list, whether they are arrays or not."""
    import numpy as np

    return lists.lengths if isinstance(lists, RowLists) else np.fromiter(map(len, lists), np.int64, len(lists))
