"""The semantic IDs of a catalogue, read from ``semantic_ids.parquet``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.tables.columns import ids, strings
from gti_cli.tables.files import read
from gti_cli.tables.vector_columns import vectors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class SemanticIDs:
    """The semantic IDs of a catalogue.

    Attributes:
        item_ids: The N item ids, in the order of the catalogue.
        codes: (N, L) int32. The code of each item on each level.
        tokens: N strings such as ``"<a_12><b_3><c_7>"``: the new tokens of each item, in the order of generation.
    """

    item_ids: list[str]
    codes: npt.NDArray[np.int32]
    tokens: list[str]

    @property
    def levels(self) -> int:
        """The number L of codes in a semantic ID."""
        return int(self.codes.shape[1])

    def row_of(self) -> dict[str, int]:
        """Return the row of each item id: one dictionary for all who ask, which nobody changes."""
        return self._row_of

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {item: row for row, item in enumerate(self.item_ids)}


def read_semantic_ids(path: Path | str) -> SemanticIDs:
    """Read a table with the columns ``item_id``, ``codes`` and ``tokens``.

    Raises:
        InputError: When a column is missing, an id occurs twice, or semantic IDs differ in length.
    """
    import numpy as np

    table = read(path, ["item_id", "codes", "tokens"])
    codes = vectors(table, "codes", path).astype(np.int32)
    return SemanticIDs(ids(table, "item_id", path, unique=True), codes, strings(table, "tokens", path))
