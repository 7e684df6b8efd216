"""What an import wrote, as plain Python values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gti_cli.importing.import_data import import_data


def read_tables(
    sources: Sequence[Path], output: Path, **options: Any
) -> tuple[list[tuple[Any, ...]], dict[str, dict[str, str]]]:
    """Import, and read both tables back: rows of interactions, texts by item."""
    import_data(sources, output, **options)
    interactions = [tuple(row.values()) for row in pq.read_table(output / "interactions.parquet").to_pylist()]
    items = pq.read_table(output / "items.parquet").to_pylist()
    return interactions, {row.pop("item_id"): row for row in items}
