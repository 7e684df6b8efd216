"""Which rows of the catalogue `--only` and `--exclude` leave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.recommendation.listing.allowed import allowed_mask

ROW_OF = {f"i{row}": row for row in range(6)}


def listed(path: Path, items: list[str]) -> Path:
    tables.write(path, {"item_id": items})
    return path


def rows(mask: np.ndarray | None) -> list[int]:
    assert mask is not None and mask.shape == (len(ROW_OF),)
    return np.flatnonzero(mask).tolist()


def test_only_and_exclude_together(tmp_path: Path) -> None:
    only, out = listed(tmp_path / "only.parquet", ["i4", "i1", "i2"]), listed(tmp_path / "out.parquet", ["i2", "i5"])
    assert allowed_mask(ROW_OF, None, None) is None
    assert rows(allowed_mask(ROW_OF, None, only)) == [1, 2, 4]
    assert rows(allowed_mask(ROW_OF, out, None)) == [0, 1, 3, 4]
    assert rows(allowed_mask(ROW_OF, out, only)) == [1, 4]
    with pytest.raises(InputError, match="leave no item"):
        allowed_mask(ROW_OF, only, only)


def test_unknown_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 2: .*'i9'"):
        allowed_mask(ROW_OF, listed(tmp_path / "out.parquet", ["i1", "i9"]), None)
