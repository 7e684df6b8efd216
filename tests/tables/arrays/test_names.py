"""Names in an Arrow array, against the list of them."""

from __future__ import annotations

import numpy as np
import pytest

from gti_cli.tables.arrays import names as module
from gti_cli.tables.arrays.names import Names

LISTED = ["b", "a", "ä", "", "b", "c"]


def test_they_are_read_like_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 4)
    names = Names.of(LISTED)
    assert names == LISTED and names == LISTED and list(names) == LISTED and len(names) == 6
    assert names != [*LISTED[:-1], "d"] and names != LISTED[:-1] and Names.of(["a", "b"]) != "ab"
    assert names[2] == "ä" and names[-1] == "c" and names[1:4] == LISTED[1:4] and names[::-2] == LISTED[::-2]
    assert names[4:2] == [] and Names.of(names) is names
    assert names.take(np.array([5, 0, 0])) == ["c", "b", "b"]


def test_the_number_of_a_name_is_that_of_its_first_place() -> None:
    names = Names.of(LISTED)
    assert names.numbers_of(["c", "b", "missing", "", "b"]).tolist() == [5, 0, -1, 3, 0]
    assert names.numbers_of([]).tolist() == []
