"""The semantic IDs of a catalogue, as ``semantic_ids.parquet`` holds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.tables.columns import ids, strings, vectors
from gti_cli.tables.files import read

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class SemanticIDs:
    """The semantic IDs of a catalogue.

    Attributes:
        item_ids: the N item ids, in the catalogue's order.
        codes: (N, L) int32, the code of each item in each level.
        tokens: N strings, e.g. ``"<a_12><b_3><c_7>"``: the item's codes as new tokens, in the order generated.
    """

    item_ids: list[str]
    codes: npt.NDArray[np.int32]
    tokens: list[str]

    @property
    def levels(self) -> int:
        """Number of codes in a semantic ID."""
        return int(self.codes.shape[1])

    def row_of(self) -> dict[str, int]:
        """Map each item id to its row."""
        return {item: row for row, item in enumerate(self.item_ids)}


def read_semantic_ids(path: Path | str) -> SemanticIDs:
    """Read ``semantic_ids.parquet`` (`item_id`, `codes`, `tokens`).

    Raises:
        InputError: a missing column, duplicate ids, ragged codes.
    """
    import numpy as np

    table = read(path, ["item_id", "codes", "tokens"])
    codes = vectors(table, "codes", path).astype(np.int32)
    return SemanticIDs(ids(table, "item_id", path, unique=True), codes, strings(table, "tokens", path))
