"""Table files: what is not what the file says is refused in one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.sources import oversized


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_an_error_lists_ten_columns_and_says_how_many_there_are(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t.{ending}"
    names = [f"c{number}" for number in range(25)]
    if ending == "csv":
        path.write_text(",".join(names) + "\n" + ",".join("x" for _ in names) + "\n")
    elif ending == "jsonl":
        path.write_text("{" + ", ".join(f'"{name}": 1' for name in names) + "}\n")
    else:
        pq.write_table(pa.table({name: [1] for name in names}), path)
    with pytest.raises(InputError) as raised:
        tables.read(path, ["item_id"])
    assert f"(the table has {', '.join(names[:10])} and 15 more)" in str(raised.value)


def test_a_parquet_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "t.pq").write_text("item_id,title\n")
    with pytest.raises(InputError, match=r"cannot be read as pq: .*damaged, truncated or of another kind"):
        tables.read(tmp_path / "t.pq")


def test_rows_that_are_all_empty_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"item_id": pa.nulls(300_000, pa.string())}), tmp_path / "nulls.parquet")
    pq.write_table(pa.table({"item_id": [f"i{n}" for n in range(300_000)]}), tmp_path / "ids.parquet")
    monkeypatch.setattr(oversized, "MANY_VALUES", 200_000)
    with pytest.raises(InputError, match=r"nulls.parquet: has 300,000 rows in [\d,]+ bytes.*Drop the empty rows"):
        tables.read(tmp_path / "nulls.parquet")
    assert tables.read(tmp_path / "ids.parquet").num_rows == 300_000


def test_parts_are_the_rows_of_one_table(tmp_path: Path) -> None:
    parts = [{"a": [1, 2], "b": ["x", "y"]}, {"a": [3], "b": ["z"]}]
    tables.write_parts(tmp_path / "parts.parquet", parts)
    assert tables.read(tmp_path / "parts.parquet").to_pydict() == {"a": [1, 2, 3], "b": ["x", "y", "z"]}
    tables.write_parts(tmp_path / "one.parquet", parts[:1])
    tables.write(tmp_path / "whole.parquet", parts[0])
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()

    def broken() -> Iterator[dict[str, list[int]]]:
        yield {"a": [1]}
        raise InputError("no more")

    with pytest.raises(InputError, match="no more"):
        tables.write_parts(tmp_path / "broken.parquet", broken())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.parquet", "parts.parquet", "whole.parquet"]


IDS = {
    "strings": pa.array(["b", "a", "b"]),
    "large strings": pa.array(["b", "a", "b"], pa.large_string()),
    "categories": pa.array(["b", "a", "b"]).dictionary_encode(),
    "a missing one": pa.array(["b", None, "b"]),
    "bytes": pa.array([b"b", b"a", b"b"]),
    "numbers": pa.array([2, 1, 2]),
    "lists": pa.array([["b"], ["a"], []]),
}


@pytest.mark.parametrize("name", IDS)
def test_encoded_columns_hold_the_same(name: str, tmp_path: Path) -> None:
    """The reader of pyarrow decides; "id.old" is there since pyarrow takes "id" for the beginning of its name."""
    path = tmp_path / "a.parquet"
    table = pa.table({"n": [1, 2, 3], "id": IDS[name], "id.old": ["x", "y", "z"], "last": [1.5, 2.5, None]})
    pq.write_table(table, path, row_group_size=2)
    for skip in ([], ["id.old"], ["n", "id.old", "last"]):
        expected = pq.read_table(path).drop_columns(skip)
        assert tables.read(path, skip=skip) == expected
        encoded = tables.read(path, skip=skip, encoded=["id"])
        assert encoded.to_pydict() == expected.to_pydict()
        assert encoded.column_names == expected.column_names
        assert pa.types.is_dictionary(encoded["id"].type) == (name not in ("bytes", "numbers", "lists"))


def test_encoded_columns_of_several_files(tmp_path: Path) -> None:
    kinds = [pa.string(), pa.string(), pa.large_string()]
    for number, kind in enumerate(kinds):
        pq.write_table(pa.table({"id": pa.array(["b", f"a{number}"], kind)}), tmp_path / f"{number}.parquet")
    expected = ["b", "a0", "b", "a1", "b", "a2"]
    for name in ("*.parquet", "[01].parquet"):
        read = tables.read(tmp_path / name, encoded=["id"])["id"]
        assert read.to_pylist() == expected[: len(read)]
    pq.write_table(pa.table({"id": [1, 2]}), tmp_path / "3.parquet")
    with pytest.raises(InputError, match=r"the column is (large_)?string in 0.parquet and int64 in 3.parquet"):
        tables.read(tmp_path / "*.parquet", encoded=["id"])
