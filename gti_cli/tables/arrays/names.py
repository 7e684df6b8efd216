"""Many ids that are kept as an Arrow array: a Python string is made only for those that somebody looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_AT_ONCE = 1 << 14  # ids that are made into strings at a time


class Names(Sequence[str]):
    """N ids.

    Attributes:
        array: (N,) the ids, none of them missing.
    """

    def __init__(self, array: pa.Array) -> None:
        """Take the ids of an array of strings."""
        self.array = array

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """The names themselves if they are such an array already, else copied into one."""
        import pyarrow as pa

        return names if isinstance(names, Names) else cls(pa.array(list(names), pa.large_string()))

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Names: ...

    def __getitem__(self, index: int | slice) -> str | Names:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return Names(self.array.slice(start, max(stop - start, 0)) if step == 1 else self.array[index])
        name: str = self.array[index].as_py()
        return name

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self.array.slice(start, _AT_ONCE).to_pylist()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def take(self, numbers: npt.NDArray[np.integer[Any]]) -> Names:
        """The ids of some numbers, in their order."""
        import pyarrow as pa

        return Names(self.array.take(pa.array(numbers)))

    def last_numbers_of(self, names: Sequence[str]) -> npt.NDArray[np.int64]:
        """As `numbers_of`, but the last number where an id stands here twice."""
        import numpy as np

        numbers = self[::-1].numbers_of(names)
        return np.where(numbers < 0, -1, len(self) - 1 - numbers)

    def numbers_of(self, names: Sequence[str]) -> npt.NDArray[np.int64]:
        """The number of each of some ids, the first one where an id stands here twice; -1 for ids that are not here."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        asked = Names.of(names).array.cast(self.array.type)
        found = pc.index_in(asked, value_set=self.array)
        return np.asarray(pc.fill_null(found, pa.scalar(-1, pa.int32())).to_numpy(), dtype=np.int64)
