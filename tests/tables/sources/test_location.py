"""Places of tables: what is looked up for a text, and what a manifest knows of it."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.workspace.inputs import describe_inputs, digest_again, digest_input


def write(path: Path, *ids: str) -> Path:
    path.write_text("item_id\n" + "".join(f"{one}\n" for one in ids))
    return path


def test_a_place_is_looked_up_late_and_reads_as_it_was_written() -> None:
    place = tables.locate("nowhere/t.csv:train[:3]", "item_id=asin")
    assert f"{place}" == "nowhere/t.csv:train[:3]" == pickle.loads(pickle.dumps(place))
    assert tables.locate(place) is place
    with pytest.raises(InputError, match=r"^nowhere/t.csv:train\[:3\]: no such file"):
        tables.read(place)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("gone.csv", "no such file"),
        ("gone-*.csv", "no file matches. Check the path"),
        ("t.xlsx", "the ending '.xlsx' is not known. Give a .parquet"),
        ("t.csv:test", "there is no split 'test'. Use train or all"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    write(tmp_path / "t.csv", "a")
    (tmp_path / "t.xlsx").write_bytes(b"x")
    with pytest.raises(InputError, match=problem):
        tables.read(tmp_path / text)


def test_a_name_with_a_colon_is_that_of_a_file_where_there_is_one(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "a")
    write(tmp_path / "t.csv:train", "b").rename(tmp_path / "t:x.csv")
    assert tables.read(f"{tmp_path}/t:x.csv").column("item_id").to_pylist() == ["b"]
    assert tables.read(f"file://{tmp_path}/t.csv:train").column("item_id").to_pylist() == ["a"]


def test_a_plain_file_is_described_as_any_input(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a")
    assert describe_inputs({"items": tables.locate(path)}) == describe_inputs({"items": path})


def test_the_digest_follows_content_order_rows_and_names(tmp_path: Path) -> None:
    one, two = write(tmp_path / "1.csv", "a", "b"), write(tmp_path / "2.csv", "c")
    whole = tables.locate(f"{tmp_path}/*.csv").describe()
    assert whole["bytes"] == one.stat().st_size + two.stat().st_size
    assert whole["files"] == [str(one), str(two)]
    digests = {
        whole["sha256"],
        digest_input(one),
        tables.locate(f"{one}:train[:1]").describe()["sha256"],
        tables.locate(f"{one}:train[:2]").describe()["sha256"],
        tables.locate(one, "title=item_id").describe()["sha256"],
    }
    assert len(digests) == 5
    assert tables.locate(f"{one}:train").describe()["sha256"] == hashlib.sha256(one.read_bytes()).hexdigest()
    folder = tmp_path / "moved"
    folder.mkdir()
    for path in (one, two):
        path.rename(folder / path.name)
    assert tables.locate(f"{folder}/*.csv").describe()["sha256"] == whole["sha256"]
    write(folder / "1.csv", "c"), write(folder / "2.csv", "a", "b")
    assert tables.locate(f"{folder}/*.csv").describe()["sha256"] != whole["sha256"]


def test_columns_that_another_table_has_leave_the_digest_alone(tmp_path: Path) -> None:
    one, two = write(tmp_path / "1.csv", "a"), tmp_path / "2.csv"
    two.write_text("asin,q\na,hats\n")
    places = tables.locate_all([one, two], "query=q,title=asin")
    for place in places:
        tables.read(place or "")
    assert [
        digest_input(place or "") == digest_input(path) for place, path in zip(places, (one, two), strict=True)
    ] == [True, False]


def test_a_changed_input_is_noticed_later(tmp_path: Path) -> None:
    one, two = write(tmp_path / "1.csv", "a", "b"), write(tmp_path / "2.csv", "c")
    for text in (f"{tmp_path}/*.csv", f"{one}:train[:1]", str(one)):
        described = tables.locate(text).describe()
        assert digest_again(described) == described["sha256"]
        write(one, "x")
        assert digest_again(described) not in (None, described["sha256"])
        write(one, "a", "b")
    two.unlink()
    assert digest_again({**described, "files": [str(one), str(two)]}) is None
