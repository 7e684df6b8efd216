"""Large tables come in blocks, and say and refuse what small ones do."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables import BlockTable, block_table, read_in_blocks


@pytest.fixture(params=["whole", "in blocks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A limit below or above the size of all files here."""
    monkeypatch.setattr(block_table, "LARGE", 0 if request.param == "in blocks" else 1 << 40)
    return str(request.param)


def in_three_files(folder: Path, **more: pa.Array) -> str:
    whole = pa.table({"id": [f"i{n}" for n in range(11)], "name": list("abcdefghijk"), "vector": [[1.0]] * 11, **more})
    for number, (start, stop) in enumerate([(0, 4), (4, 5), (5, 11)]):
        pq.write_table(whole.slice(start, stop - start), folder / f"{number}.parquet", row_group_size=3)
    return f"{folder}/*.parquet"


@pytest.mark.parametrize(("rows", "part"), [("", slice(None)), (":train[3:9]", slice(3, 9))])
def test_blocks_of_files_are_the_rows_in_order(tmp_path: Path, way: str, rows: str, part: slice) -> None:
    place = tables.locate(in_three_files(tmp_path) + rows, "item_id=id,title=name")
    table = read_in_blocks(place, ["title"], skip=["vector"], resident=["item_id"])
    assert table.schema.names == ["item_id", "title"] and len(table) == len(range(11)[part])
    assert table.resident.column_names == (["item_id"] if way == "in blocks" else ["item_id", "title"])
    assert table.resident.column("item_id").to_pylist() == [f"i{n}" for n in range(11)][part]
    for columns in (["title"], ["title", "item_id"], ["item_id"]):
        blocks = list(table.blocks(columns, 2))
        assert max(map(len, blocks)) <= 2 and all(block.column_names == columns for block in blocks)
        whole = pa.concat_tables(blocks).to_pydict()
        expected = {"title": list("abcdefghijk")[part], "item_id": [f"i{n}" for n in range(11)][part]}
        assert whole == {name: expected[name] for name in columns}


@given(numbers=st.lists(st.integers(0, 10), max_size=8), in_blocks=st.booleans(), rows=st.integers(1, 12))
def test_some_rows_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], in_blocks: bool, rows: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_table, "LARGE", 0 if in_blocks else 1 << 40)
        patch.setattr(block_table, "_ROWS", rows)
        table = read_in_blocks(in_three_files(tmp_path_factory.mktemp("t")), resident=["id"])
        found = table.rows(["name", "id"], numbers)
    assert found.to_pydict() == {"name": [list("abcdefghijk")[n] for n in numbers], "id": [f"i{n}" for n in numbers]}


def test_a_column_that_is_missing_is_named_among_all(tmp_path: Path, way: str) -> None:
    with pytest.raises(InputError, match=r"column 'brand' is missing \(the table has id, name, vector\)"):
        read_in_blocks(in_three_files(tmp_path), ["brand"], resident=["id"])
    with pytest.raises(InputError, match=r"column 'item_id' is missing \(the table has id, name, vector\)"):
        read_in_blocks(in_three_files(tmp_path), ["item_id"], resident=["item_id"])


def test_columns_that_give_way_are_said_once(tmp_path: Path, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    place = in_three_files(tmp_path, title=pa.array(["x"] * 11), item_id=pa.array(["y"] * 11))
    table = read_in_blocks(tables.locate(place, "item_id=id,title=name"), ["item_id"], resident=["item_id"])
    assert table.schema.names == ["item_id", "title", "vector"]
    assert table.rows(["title", "item_id"], [10]).to_pylist() == [{"title": "k", "item_id": "i10"}]
    words = " ".join(capsys.readouterr().err.split())
    assert words.count("give way because of --columns") == 1
    assert "'title' ('name' is read for it)" in words and "'item_id' ('id' is read for it)" in words


def test_names_with_spaces_and_names_that_begin_alike(tmp_path: Path, way: str) -> None:
    table = pa.table({" id ": ["a"], "name": ["b"], "name.more": ["c"], "at": [{"name": 1}]})
    pq.write_table(table, tmp_path / "t.parquet")
    read = read_in_blocks(tmp_path / "t.parquet", resident=["id"])
    assert read.schema.names == ["id", "name", "name.more", "at"]
    assert pa.concat_tables(read.blocks(["name"], 5)).to_pydict() == {"name": ["b"]}


def test_files_of_different_types_are_joined_as_a_whole(tmp_path: Path, way: str) -> None:
    tables.write(tmp_path / "0.parquet", {"id": ["a"], "price": [1]})
    tables.write(tmp_path / "1.parquet", {"id": ["b"], "price": [1.5]})
    read = read_in_blocks(f"{tmp_path}/*.parquet", resident=["id"])
    assert read.resident.column("price").to_pylist() == [1.0, 1.5]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"no parquet", "cannot be read as parquet"), (None, "the table has no rows"), ("twice", "occurs more than once")],
)
def test_what_cannot_be_read(tmp_path: Path, way: str, content: bytes | str | None, words: str) -> None:
    path = tmp_path / "t.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is None:
        tables.write(path, pa.table({"id": pa.array([], pa.string())}))
    else:
        pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["id", "name", "name"]), path)
    with pytest.raises(InputError, match=words):
        read_in_blocks(path, resident=["id"])


def test_damage_that_shows_in_a_later_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_table, "LARGE", 0)
    path = tmp_path / "t.parquet"
    numbers = [n * 7919 % 10007 for n in range(5000)]
    pq.write_table(pa.table({"id": numbers, "name": numbers}), path, use_dictionary=False, data_page_size=512)
    chunk = pq.read_metadata(path).row_group(0).column(1)
    content = bytearray(path.read_bytes())
    middle = chunk.data_page_offset + chunk.total_compressed_size // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)
    table = read_in_blocks(path, resident=["id"])
    with pytest.raises(InputError, match=r"t\.parquet: cannot be read as parquet: .*write it again"):
        list(table.blocks(["name"], 100))


def test_a_table_made_in_memory() -> None:
    table = pa.table({"a": [1, 2, 3]})
    made = BlockTable(tables.locate("t.parquet"), table.schema, table)
    assert [block.to_pydict() for block in made.blocks(["a"], 2)] == [{"a": [1, 2]}, {"a": [3]}]
    assert made.rows(["a"], []).to_pydict() == {"a": []}
