"""Files of a format by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.importing.formats.base import named, need_one
from gti_cli.importing.sources import SourceFile

FILES = [SourceFile(Path(name)) for name in ("a/U.data", "b/x.inter.gz", "b/y.inter")]


def test_names_and_endings() -> None:
    assert named(FILES, "u.data") == FILES[:1]
    assert named(FILES, "*.inter") == FILES[1:]
    assert named(FILES, "data") == []


def test_exactly_one_is_needed() -> None:
    assert need_one(FILES, "MovieLens", "u.data") == FILES[0]
    with pytest.raises(InputError, match=r"MovieLens needs the file u\.item"):
        need_one(FILES, "MovieLens", "u.item")
    with pytest.raises(InputError, match="2 files for RecBole"):
        need_one(FILES, "RecBole", "*.inter")
