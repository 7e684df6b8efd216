"""Which items are held out, and that a folder holds the same split."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gti_cli.errors import InputError
from gti_cli.tables import locate
from gti_cli.tables.cold_start.held_out_items import (
    FILE,
    HeldOutItems,
    choose_held_out,
    hand_on,
    parse_share,
    read_held_out,
)
from gti_cli.tables.histories import Interactions
from gti_cli.workspace import Workspace

CATALOGUE = {f"i{n}" for n in range(200)}


def table(items: int = 100, *, backwards: bool = False) -> Interactions:
    """Every item once, two to a user."""
    users = {f"u{n}": [f"i{n}", f"i{n + 1}"] for n in range(0, items, 2)}
    return Interactions(dict(reversed(users.items())) if backwards else users, None, "a table")


def test_the_draw_is_of_items_with_interactions_and_does_not_depend_on_order() -> None:
    held = choose_held_out(0.1, table(), CATALOGUE)
    assert (len(held.test), len(held.valid), len(held.all)) == (10, 5, 15)
    assert held.all < {f"i{n}" for n in range(100)}
    assert choose_held_out(0.1, table(backwards=True), CATALOGUE) == held
    # Another table of the same shop holds out mostly the same items.
    later = choose_held_out(0.1, table(110), CATALOGUE)
    assert len(later.test & held.test) >= 7


def test_a_table_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item_id": ["i1", "i2", "i2"], "split": ["test", "valid", "valid"]}), path)
    assert choose_held_out(locate(path), table(), CATALOGUE) == HeldOutItems(frozenset(["i1"]), frozenset(["i2"]))
    pq.write_table(pa.table({"item_id": ["i1", "i2"]}), path)
    assert choose_held_out(locate(path), table(), CATALOGUE) == HeldOutItems(frozenset(["i1", "i2"]), frozenset())


@pytest.mark.parametrize(
    ("items", "labels", "message"),
    [
        (["i1", "nothing"], ["test", "test"], "items without a semantic ID: 'nothing'"),
        (["i1", "i2"], ["test", "train"], r"column 'split', row 2: 'train' is no part of held-out items"),
        (["i1", "i1"], ["test", "valid"], "row 2: item 'i1' stands in both parts"),
        (["i1"], ["valid"], "no item is held out for the test"),
        (["i1", None], ["test", "test"], "row 2: the id is missing"),
        (["i1"], [{"part": "test"}], "column 'split'"),
    ],
)
def test_tables_refused(tmp_path: Path, items: list[Any], labels: list[Any], message: str) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item_id": items, "split": labels}), path)
    with pytest.raises(InputError, match=message) as error:
        choose_held_out(locate(path), table(), CATALOGUE)
    assert str(path) in str(error.value) and error.value.remedy


def test_other_words_for_the_rows_of_such_a_table(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item_id": ["quite another"]}), path)
    with pytest.raises(InputError, match="rop these items"):
        choose_held_out(locate(path), table(), CATALOGUE)
    pq.write_table(pa.table({"item": ["i1"]}), path)
    with pytest.raises(InputError, match="column 'item_id' is missing"):
        choose_held_out(locate(path), table(), CATALOGUE)


def test_shares() -> None:
    assert parse_share("0.1") == 0.1 and parse_share("0.5") == 0.5 and parse_share("items.parquet") is None
    for given in ("0", "-0.1", "0.6", "nan", "10"):
        with pytest.raises(InputError, match=r"is no share of the items.*Write for example 0.1"):
            parse_share(given)
    with pytest.raises(
        InputError, match=r"^a table: --hold-out-items 0\.01 holds out 1 and 0 of 100 items.*Use a larger"
    ):
        choose_held_out(0.01, table(), CATALOGUE)


def test_a_folder_holds_the_split_and_hands_it_on(tmp_path: Path) -> None:
    held = HeldOutItems(frozenset(["i3", "i1"]), frozenset(["i2"]))
    (tmp_path / "from").mkdir()
    assert read_held_out(tmp_path / "from") is None
    held.write(tmp_path / "from")
    assert read_held_out(tmp_path / "from") == held
    assert pq.read_table(tmp_path / "from" / FILE).column("item_id").to_pylist() == ["i1", "i2", "i3"]
    other = HeldOutItems(held.valid, held.test)
    assert held.recorded()["sha256"] != other.recorded()["sha256"]
    digest = hashlib.sha256(b'[["i1", "i3"], ["i2"]]').hexdigest()  # manifests of other versions hold it
    assert held.recorded() == {"test_items": 2, "valid_items": 1, "sha256": digest}
    with Workspace(tmp_path / "space").stage("extend", "thing", ["thing"], options={}) as run:
        run.path("thing").mkdir()
        hand_on(tmp_path / "from", run.path("thing"), run)
        assert run.details["held_out_items"] == held.recorded()
        assert read_held_out(run.path("thing")) == held
        for _ in range(2):
            hand_on(tmp_path, run.path("thing"), run)
            assert "held_out_items" not in run.details


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item_id": ["i1"]}, "column 'split' is missing"),
        ({"split": ["test"]}, "column 'item_id' is missing"),
        ({"item_id": ["i1", None], "split": ["test"] * 2}, "row 2: the id is missing"),
        ({"item_id": ["i1"], "split": [{"part": "test"}]}, "column 'split'"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, columns: dict[str, list[Any]], message: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / FILE)
    with pytest.raises(InputError, match=message) as error:
        read_held_out(tmp_path)
    assert str(tmp_path / FILE) in str(error.value)
