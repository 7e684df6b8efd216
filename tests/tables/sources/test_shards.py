"""Shards and splits: which rows a caller gets, against what `datasets` reads; what does not fit together is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli import tables
from gti_cli.errors import InputError

LENGTHS = (7, 1, 12)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the numbers 0 to 19 in three files of either kind."""
    folder, start = tmp_path_factory.mktemp("shards"), 0
    for number, length in enumerate(LENGTHS):
        values = range(start, start + length)
        tables.write(folder / f"part-{number}.parquet", {"n": [str(value) for value in values]})
        (folder / f"part-{number}.csv").write_text("n\n" + "".join(f"{value}\n" for value in values))
        start += length
    return folder


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize(
    "instruction",
    [
        "train",
        "train[:8]",
        "train[6:9]",
        "train[8:]",
        "train[-3:]",
        "train[:25%]",
        "train[90%:]",
        "train[:3]+train[18:]",
    ],
)
def test_slices_are_those_of_datasets(shards: Path, kind: str, instruction: str) -> None:
    import datasets

    expected = [
        number
        for part in datasets.ReadInstruction.from_spec(instruction).to_absolute({"train": sum(LENGTHS)})
        for number in range(part.from_ or 0, sum(LENGTHS) if part.to is None else part.to)
    ]
    table = tables.read(f"{shards}/*.{kind}:{instruction}", ["n"])
    assert [int(value) for value in table.column("n").to_pylist()] == expected


def test_a_slice_of_a_single_file(shards: Path) -> None:
    assert tables.read(f"{shards}/part-2.parquet:train[:2]").column("n").to_pylist() == ["8", "9"]


@pytest.mark.parametrize(
    ("instruction", "problem"),
    [
        ("test", "there is no split 'test'. Use train or all"),
        ("train+valid[:3]", "there is no split 'valid'"),
        ("train[:x]", "these rows cannot be read.*train has 20 rows.*Write for example"),
        ("train[3:3]", "no rows were asked for"),
    ],
)
def test_rows_that_do_not_exist_are_refused(shards: Path, instruction: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        tables.read(f"{shards}/*.parquet:{instruction}")


def test_columns_may_stand_in_another_order_and_numbers_be_wider(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("item_id,timestamp\na,1\n")
    (tmp_path / "2.csv").write_text("timestamp,item_id\n2.5,b\n")
    (tmp_path / "3.csv").write_text("item_id,timestamp\n")
    table = tables.read(f"{tmp_path}/*.csv")
    assert table.to_pydict() == {"item_id": ["a", "b"], "timestamp": [1.0, 2.5]}


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_text('{"item_id": 1, "title": "x"}\n')
    (tmp_path / "2.jsonl").write_text('{"item_id": 2, "name": "x"}\n')
    with pytest.raises(InputError, match=r"beside 1.jsonl, 2.jsonl lacks 'title' and 2.jsonl also has 'name'"):
        tables.read(f"{tmp_path}/*.jsonl")
    (tmp_path / "2.jsonl").write_text('{"item_id": "b", "title": "x"}\n')
    with pytest.raises(InputError, match=r"column 'item_id': the column is int64 in 1.jsonl and string in 2.jsonl"):
        tables.read(f"{tmp_path}/*.jsonl")
    (tmp_path / "3.csv").write_text("item_id,title\n1,x\n")
    with pytest.raises(InputError, match=r"different kinds \(1.jsonl, 3.csv\). Name those of one kind"):
        tables.read(f"{tmp_path}/*")


def test_an_error_names_the_file_and_the_row_in_it(tmp_path: Path) -> None:
    for number, text in enumerate(["item_id\na\nb\n", 'item_id\nc\n\n""\nd\n']):
        (tmp_path / f"{number}.csv").write_text(text)
    for place, row in ((f"{tmp_path}/*.csv", 2), (f"{tmp_path}/1.csv:train[1:]", 2)):
        location = tables.locate(place)
        table = tables.read(location)
        with pytest.raises(InputError, match=rf"^{tmp_path}/1.csv, column 'item_id', row {row}: the id is missing"):
            tables.in_terms_of_the_file(tables.ids)(table, "item_id", location)
