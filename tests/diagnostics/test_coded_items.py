import numpy as np
import pytest

from gti_cli import tables
from gti_cli.diagnostics.coded_items import CodedItems, read_coded_items
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
from tests.support.diagnostics import tokens_of

ITEMS = CodedItems(list("abcd"), np.array([[0, 1], [2, 1], [2, 1], [1, 0]], dtype=np.int32))
TOKENS = tokens_of([0, 1, 1, 0, -1, 5, 1], [2, 1, 0, 3, -1, 0, 7])


def test_carriers():
    assert [items.tolist() for items in ITEMS.carriers(TOKENS)] == [[1, 2], [0, 1, 2], [3], [], [], [], []]


def test_parents_are_the_codes_that_come_before_most_often():
    assert ITEMS.parents(TOKENS).tolist() == [-1, 2, 1, -1, -1, -1, -1]


def test_read(tmp_path):
    ids = {"item_id": ["x", "y"], "codes": [[0, 1], [1, 0]], "tokens": ["<a_0><b_1>", "<a_1><b_0>"]}
    tables.write(tmp_path / "semantic_ids.parquet", ids)
    tables.write(tmp_path / "items.parquet", {"item_id": ["x", "y"], "text": ["one", "two"]})
    items = read_coded_items(Workspace(tmp_path))
    assert items.texts == ["one", "two"]
    assert items.codes.tolist() == [[0, 1], [1, 0]]
    tables.write(tmp_path / "items.parquet", {"item_id": ["y", "x"], "text": ["one", "two"]})
    with pytest.raises(InputError, match="other items"):
        read_coded_items(Workspace(tmp_path))
