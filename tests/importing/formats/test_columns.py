"""Any table by the names of its columns."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gti_cli.errors import InputError
from gti_cli.importing.formats.columns import parse_columns
from gti_cli.importing.import_data import import_data
from tests.support.importing import read_tables
from tests.support.public_data import write

COLUMNS = "user_id=who,item_id=what,timestamp=when,title=name"
ROWS = [("u1", "007", "2020-01-01", "Red, dress"), ("u1", "8", "2020-01-02", "Coat")]


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "tsv", "jsonl", "parquet"])
def test_interactions_and_texts_of_one_table(tmp_path: Path, ending: str) -> None:
    names = ["who", "what", "when", "name"]
    if ending == "parquet":
        pq.write_table(
            pa.table(dict(zip(names, map(list, zip(*ROWS, strict=True)), strict=True))), tmp_path / "t.parquet"
        )
    elif ending == "jsonl":
        write(
            tmp_path, {"t.jsonl": "".join(f"{dict(zip(names, row, strict=True))}\n".replace("'", '"') for row in ROWS)}
        )
    else:
        mark = "\t" if ending == "tsv" else ","
        lines = [mark.join(f'"{value}"' for value in row) for row in [tuple(names), *ROWS]]
        write(tmp_path, {f"t.{ending}": "\n".join(lines) + "\n"})
    interactions, items = read_tables([tmp_path / f"t.{ending}"], tmp_path / "out", columns=COLUMNS)
    assert interactions == [("u1", "007", 1577836800), ("u1", "8", 1577923200)]
    assert items == {"007": {"title": "Red, dress"}, "8": {"title": "Coat"}}


def test_items_and_queries_in_files_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, {"i.csv": "what,name\n1,Pen\n2,Ink\n", "q.csv": "words,what,grade\nred pen,1,2\nred pen,2,0\n"})
    import_data(
        [tmp_path / "i.csv", tmp_path / "q.csv"],
        tmp_path / "out",
        columns="item_id=what,title=name,query=words,relevance=grade",
    )
    queries = pq.read_table(tmp_path / "out" / "queries.parquet").to_pylist()
    assert queries[1] == {"query": "red pen", "item_id": "2", "relevance": 0}
    assert pq.read_table(tmp_path / "out" / "items.parquet")["title"].to_pylist() == ["Pen", "Ink"]
    assert not (tmp_path / "out" / "interactions.parquet").exists()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("user_id", "is no pair of names"),
        ("user=who,item_id=what", "names 'user', which no table"),
        ("user_id=who", "item ids"),
    ],
)
def test_wrong_mappings(columns: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_columns(columns)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "are not there"),
        ("who,what,when\n,1,2\n", r"line 2: the id is missing"),
        ("who,what,when\nu, ,2\n", r"line 2: the id is missing"),
        ("who,what,when\nu,1,soon\n", r"line 2: 'soon' is no date or time that can be read"),
    ],
)
def test_wrong_tables(tmp_path: Path, content: str, message: str) -> None:
    write(tmp_path, {"t.csv": content})
    with pytest.raises(InputError, match=message):
        import_data([tmp_path / "t.csv"], tmp_path / "out", columns="user_id=who,item_id=what,timestamp=when")


def test_ids_and_texts_of_parquet_in_every_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.table(
        {
            "who ": pa.array([1.0, 2.0]),
            '"what"': pa.array([b"007", b"8"]),
            "when": pa.array([5, 6]),
            "name": pa.array([b"Red", "grün".encode()]),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    interactions, items = read_tables([tmp_path / "t.parquet"], tmp_path / "out", columns=COLUMNS)
    assert interactions == [("1", "007", 5), ("2", "8", 6)]
    assert items == {"007": {"title": "Red"}, "8": {"title": "grün"}}
    said = capsys.readouterr().err
    assert "column 'who' is of type double: its ids became whole numbers" in said and "names of columns" in said


def test_a_field_that_the_first_line_lacks(tmp_path: Path) -> None:
    write(tmp_path, {"t.jsonl": '{"who": 1.0, "what": "a"}\n{"who": 2, "what": "a", "when": 6, "name": "Hat"}\n'})
    interactions, _ = read_tables(
        [tmp_path / "t.jsonl"], tmp_path / "out", columns="user_id=who,item_id=what,title=name"
    )
    assert [row[:2] for row in interactions] == [("1", "a"), ("2", "a")]


def imported_times(folder: Path, times: list[str], **options: str) -> tuple[list[int], str]:
    rows = "".join(f'u,{number},"{time}"\n' for number, time in enumerate(times))
    write(folder, {"t.csv": f"who,what,when\n{rows}"})
    mapping = "user_id=who,item_id=what,timestamp=when"
    manifest = import_data([folder / "t.csv"], folder / "out", columns=mapping, force=True, **options)  # type: ignore[arg-type]
    table = pq.read_table(folder / "out" / "interactions.parquet")
    return table["timestamp"].to_pylist(), manifest.details["time_unit"]


def test_a_later_row_settles_whether_days_come_first(tmp_path: Path) -> None:
    assert imported_times(tmp_path, ["02/01/1970", "13/01/1970"]) == ([86_400, 12 * 86_400], "seconds")
    assert imported_times(tmp_path, ["01/02/1970 1:00 AM", "01/13/1970 12:00 AM"]) == ([90_000, 12 * 86_400], "seconds")
    with pytest.raises(InputError, match=r"line 2: '02/01/1970' may have the day or the month first"):
        imported_times(tmp_path, ["02/01/1970", "03/01/1970"])


def test_bounds_know_the_unit_of_numbers(tmp_path: Path) -> None:
    times = ["1527638400000", "1527724800000"]  # 30 and 31 May 2018
    assert imported_times(tmp_path, times, since="2018-05-31") == ([1527724800000], "milliseconds")


def test_seconds_in_float32_are_refused(tmp_path: Path) -> None:
    columns = {"who": ["u"], "what": ["a"], "when": pa.array([1527638400.0], pa.float32())}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet, line 1: float32 holds whole numbers up to 16,777,216"):
        import_data([tmp_path / "t.parquet"], tmp_path / "out", columns="user_id=who,item_id=what,timestamp=when")
