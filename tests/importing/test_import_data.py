"""The stage: what it writes, what it records, and that it leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.importing.import_data import import_data
from gti_cli.tables.histories import read_interactions, split
from tests.support import public_data
from tests.support.importing import read_tables


def shop(folder: Path) -> Path:
    """Three users with 3, 2 and 1 interactions; item z has no text at all."""
    rows = ["u1\ta\t1\t10", "u1\tb\t5\t20", "u1\tz\t5\t30", "u2\ta\t4\t15", "u2\tb\t4\t25", "u3\ta\t3\t5"]
    head = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    items = "item_id:token\ttitle:token_seq\na\tPen\nb\tInk\nnever\tBall\n"
    return public_data.write(folder, {"s.inter": head + "\n".join(rows) + "\n", "s.item": items})


def test_what_is_written_is_what_the_next_stages_read(tmp_path: Path) -> None:
    manifest = import_data([shop(tmp_path / "in")], tmp_path / "out")
    items = tables.read(tmp_path / "out" / "items.parquet", ["item_id", "title"])
    ids = tables.ids(items, "item_id", "items", unique=True)
    assert dict(zip(ids, items["title"].to_pylist(), strict=True)) == {
        "a": "Pen",
        "b": "Ink",
        "never": "Ball",
        "z": "z",
    }
    splits = split(read_interactions(tmp_path / "out" / "interactions.parquet", set(ids)))
    assert {entry.user_id: entry.target for entry in splits.test} == {"u1": "z"}
    assert manifest.counts["items_without_text"] == 1
    assert manifest.metrics["written"]["interactions"] == 6


def test_a_core_is_a_smaller_catalogue(tmp_path: Path) -> None:
    interactions, items = read_tables([shop(tmp_path / "in")], tmp_path / "out", k_core=2)
    assert {row[:2] for row in interactions} == {("u1", "a"), ("u1", "b"), ("u2", "a"), ("u2", "b")}
    assert set(items) == {"a", "b"}
    manifest = import_data([tmp_path / "in"], tmp_path / "out", k_core=2)
    assert manifest.counts["left_out"] == {"outside of the 2-core": 2}
    assert manifest.counts["items_without_interactions_left_out"] == 2


def test_done_work_is_not_done_again_and_other_options_need_force(tmp_path: Path) -> None:
    source = shop(tmp_path / "in")
    first = import_data([source], tmp_path / "out")
    assert import_data([source], tmp_path / "out").run == first.run
    with pytest.raises(InputError, match="--force"):
        import_data([source], tmp_path / "out", min_rating=4)
    import_data([source], tmp_path / "out", min_rating=4, force=True)
    assert pq.read_table(tmp_path / "out" / "interactions.parquet").num_rows == 4


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    source = shop(tmp_path / "in")
    for name in ("one", "two"):
        import_data([source], tmp_path / name)
    for table in ("items.parquet", "interactions.parquet"):
        assert (tmp_path / "one" / table).read_bytes() == (tmp_path / "two" / table).read_bytes()


def test_nothing_left_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no interaction is left.*6 outside of the 9-core"):
        import_data([shop(tmp_path / "in")], tmp_path / "out", k_core=9)
    assert not (tmp_path / "out" / "items.parquet").exists()


def test_items_alone(tmp_path: Path) -> None:
    public_data.write(tmp_path, {"i.csv": "id,name\n1,Pen\n"})
    manifest = import_data([tmp_path / "i.csv"], tmp_path / "out", columns="item_id=id,title=name")
    assert list(manifest.outputs) == ["items.parquet"]


def test_ids_that_two_files_write_differently_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = public_data.write(
        tmp_path / "in", {"log.csv": "user,item\nu,007\nu,010\n", "items.csv": "item,name\n7,Pen\n10,Ink\n"}
    )
    manifest = import_data(
        [folder / "log.csv", folder / "items.csv"], tmp_path / "out", columns="user_id=user,item_id=item,title=name"
    )
    warning = (
        "their ids stand for their titles; all differ by leading zeros alone from ids that exist ('007' here is '7'"
    )
    assert warning in capsys.readouterr().err
    assert [note for note in manifest.details["notes"] if warning in note]
