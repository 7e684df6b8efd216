"""The semantic IDs of a catalogue, read from ``semantic_ids.parquet``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.tables.arrays.digests import digest_names
from gti_cli.tables.arrays.item_rows import ItemRows
from gti_cli.tables.arrays.name_columns import text_names, unique_names
from gti_cli.tables.arrays.names import Names
from gti_cli.tables.files import read
from gti_cli.tables.vector_columns import vectors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class SemanticIDs:
    """The semantic IDs of a catalogue. Lists of strings that it is made from become arrays.

    Attributes:
        item_ids: The N item ids, in the order of the catalogue.
        codes: (N, L) int32. The code of each item on each level.
        tokens: N strings such as ``"<a_12><b_3><c_7>"``: the new tokens of each item, in the order of generation.
    """

    item_ids: Sequence[str]
    codes: npt.NDArray[np.int32]
    tokens: Sequence[str]

    def __post_init__(self) -> None:
        for name in ("item_ids", "tokens"):
            object.__setattr__(self, name, Names.of(getattr(self, name)))

    @property
    def names(self) -> Names:
        """The item ids, as an array."""
        assert isinstance(self.item_ids, Names)
        return self.item_ids

    @property
    def levels(self) -> int:
        """The number L of codes in a semantic ID."""
        return int(self.codes.shape[1])

    @cached_property
    def digests(self) -> list[str]:
        """SHA-256 of the item ids, and of the codes: they tell this catalogue from any other."""
        return [digest_names(self.item_ids), hashlib.sha256(self.codes.tobytes()).hexdigest()]

    def row_of(self) -> ItemRows:
        """Return the row of each item id: one mapping for all who ask."""
        return self._row_of

    @cached_property
    def _row_of(self) -> ItemRows:
        return ItemRows(self.names)


def read_semantic_ids(path: Path | str) -> SemanticIDs:
    """Read a table with the columns ``item_id``, ``codes`` and ``tokens``.

    Raises:
        InputError: When a column is missing, an id occurs twice, or semantic IDs differ in length.
    """
    import numpy as np

    table = read(path, ["item_id", "codes", "tokens"])
    codes = vectors(table, "codes", path).astype(np.int32)
    return SemanticIDs(unique_names(table, "item_id", path), codes, text_names(table, "tokens", path))
