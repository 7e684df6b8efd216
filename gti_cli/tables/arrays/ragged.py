"""Lists of different lengths, one behind the other in an array: where each starts, and whose each entry is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def offsets_of(lengths: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """(U + 1,) where U lists start, and where the last one ends.

    Args:
        lengths: (U,) length of each list; of a mask, which entries there are.
    """
    import numpy as np

    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def owners_of(lengths: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """(M,) the number of the list that each entry belongs to.

    Args:
        lengths: (U,) length of each list, M together.
    """
    import numpy as np

    return np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)


def places_in_lists(lengths: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """(M,) the place of each entry in its list, from 0.

    Args:
        lengths: (U,) length of each list, M together.
    """
    import numpy as np

    return places_from(np.zeros(len(lengths), dtype=np.int64), lengths)


def places_from(starts: npt.NDArray[np.integer[Any]], lengths: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """(M,) the places ``starts[n]``, ``starts[n] + 1``, … of each list, one list behind the other.

    Args:
        starts: (U,) first place of each list.
        lengths: (U,) number of places of each list, M together.
    """
    import numpy as np

    offsets = offsets_of(lengths)
    places: npt.NDArray[np.int64] = np.repeat(starts - offsets[:-1], lengths)
    places += np.arange(len(places))
    return places
