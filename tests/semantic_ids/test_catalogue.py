from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.semantic_ids import artifact
from gti_cli.semantic_ids import catalogue as module
from gti_cli.semantic_ids.catalogue import OWN_COLUMNS, Catalogue, read_catalogue, string_columns
from gti_cli.tables import block_table
from gti_cli.tables.arrays import string_column
from gti_cli.tables.arrays.string_column import StringsOnDisk
from tests.support.semantic_ids import make_catalogue


@pytest.fixture(params=["in memory", "on disk"], autouse=True)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs as for a small and as for a large catalogue."""
    if request.param == "on disk":
        monkeypatch.setattr(block_table, "LARGE", 0)
        monkeypatch.setattr(string_column, "MOST_IN_MEMORY", 0)
        monkeypatch.setattr(module, "_TEXTS_BLOCK", 2)
    return str(request.param)


def kept(made: Catalogue) -> dict[str, list[object]]:
    """What `items.parquet` keeps of the table's columns."""
    whole = pa.concat_tables(list(artifact.items_parts(made)))
    return {name: whole.column(name).to_pylist() for name in whole.column_names if name not in ("item_id", "text")}


def test_large_tables_and_texts_stay_on_disk(tmp_path: Path, place: str) -> None:
    made = make_catalogue(tmp_path, title=["a", "b", "ü", "d", "e"], brand=["x", None, "y", "z", ""], price=[1] * 5)
    assert isinstance(made.texts, StringsOnDisk) == (place == "on disk")
    assert (made.table.resident.column_names == ["item_id"]) == (place == "on disk")
    assert made.texts == ["a\nx", "b", "ü\ny", "d\nz", "e"] and len(made) == 5
    assert kept(made) == {"title": ["a", "b", "ü", "d", "e"], "brand": ["x", None, "y", "z", ""]}


def test_texts_join_the_chosen_columns(tmp_path: Path) -> None:
    made = make_catalogue(
        tmp_path, title=["a", "b"], brand=[None, " B "], categories=[["x", "y"], None], price=[1.0, 2.0]
    )
    assert made.text_columns == ["title", "brand", "categories"]
    assert made.texts == ["a\nx > y", "b\nB"]
    assert string_columns(made.table) == ["title", "brand", "categories"]
    assert kept(made)["categories"] == [["x", "y"], None]
    assert make_catalogue(tmp_path, ["brand", "brand"], title=["a", "b"], brand=["c", "d"]).texts == ["c", "d"]


def test_types_of_texts_in_several_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "_PART", 2)
    letters = ["a", None, "c", "d", "e"]
    columns = {
        "encoded": pa.array(letters).dictionary_encode(),
        "large": pa.array(letters, pa.large_string()),
        "bytes": [None if letter is None else letter.encode() for letter in letters],
        "lists": [[letter] if letter else [] for letter in letters],
        "encoded_lists": pa.ListArray.from_arrays([0, 1, 1, 2, 3, 5], pa.array(list("acdef")).dictionary_encode()),
        "picture": [b"a", b"b", b"c", b"d", b"\xff"],
        "nothing": pa.nulls(5),
    }
    made = make_catalogue(tmp_path, ["encoded", "bytes", "nothing"], **columns)
    assert made.texts == ["a\na", "", "c\nc", "d\nd", "e\ne"]
    assert kept(made) == {
        **dict.fromkeys(["encoded", "large", "bytes"], letters),
        "lists": [["a"], [], ["c"], ["d"], ["e"]],
        "encoded_lists": [["a"], [], ["c"], ["d"], ["e", "f"]],
    }
    tables.write_parts(tmp_path / "parts.parquet", artifact.items_parts(made))
    assert len(tables.read(tmp_path / "parts.parquet")) == 5
    bad = {"title": ["a", "b", "c"], "other": [b"a", b"b", b"\xff"]}
    with pytest.raises(InputError, match=r"column 'other', row 3"):
        make_catalogue(tmp_path, ["title", "other"], **bad)
    with pytest.raises(InputError, match=r"column 'embedding' is missing"):
        make_catalogue(tmp_path, ["embedding"], title=["a"], embedding=[[1.0]])


def test_columns_outside_the_texts_are_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = {"title": ["a", "b"], "brand": ["c", "d"], "genres": ["x", "y"], "price": [1.0, 2.0]}
    path = make_catalogue(tmp_path, **columns).path
    read_catalogue(path)
    words = " ".join(capsys.readouterr().err.split())
    assert words.count("not in the items' texts (see --text-columns): columns 'genres', 'price'") == 1
    for named, more in ((["title"], {}), (None, {"embedding": [[1.0], [2.0]]})):  # chosen by hand; no texts are encoded
        make_catalogue(tmp_path, named, **columns, **more)
        assert "not in the items' texts" not in capsys.readouterr().err


def test_a_table_without_titles_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_catalogue(tmp_path, titel=["a", "b"], description=["c", "d"])
    assert "no column 'title', which names items in lists and pages" in " ".join(capsys.readouterr().err.split())
    make_catalogue(tmp_path, title=["a", "b"])
    assert "no column 'title'" not in capsys.readouterr().err


def test_dictionary_columns_are_text(tmp_path: Path) -> None:
    made = make_catalogue(tmp_path, title=["a", "b"], brand=pa.array(["x", "x"]).dictionary_encode())
    assert made.texts == ["a\nx", "b\nx"]
    assert "brand" in string_columns(made.table)


def test_embeddings_of_parquet_come_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 4)
    rows = np.random.default_rng(0).standard_normal((11, 3)).astype(np.float32)
    path = tmp_path / "items.parquet"
    tables.write(path, {"item_id": [f"i{n}" for n in range(11)], "embedding": rows.tolist()})
    made = read_catalogue(path)
    assert made.has_embeddings and "embedding" not in made.table.schema.names
    assert made.embedding_width() == 3 and max(len(block) for block in made.embedding_blocks()) == 4
    np.testing.assert_array_equal(np.concatenate(list(made.embedding_blocks())), rows)
    for bad, message in (
        ([1.0, 2.0], "row 10: 2 numbers where the first"),
        ([1.0, float("nan"), 0.0], "row 10: the vector holds NaN"),
    ):
        column = rows.tolist()
        column[9] = bad
        tables.write(path, {"item_id": [f"i{n}" for n in range(11)], "embedding": column})
        with pytest.raises(InputError, match=message):
            list(read_catalogue(path).embedding_blocks())


def test_embeddings_of_json_lines(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(
        '{"item_id": "a", "embedding": [1, 2]}\n{"item_id": "b", "embedding": [3, 4]}\n'
    )
    made = read_catalogue(tmp_path / "items.jsonl")
    np.testing.assert_array_equal(np.concatenate(list(made.embedding_blocks())), [[1, 2], [3, 4]])


def test_embeddings_written_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 2)
    texts = ["[0.1, 0.2]", "[0.3 0.4]", "[0.5, 0.6]"]
    expected = np.float32([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    (tmp_path / "items.csv").write_text(
        "item_id,title,embedding\n" + "".join(f'i{n},x,"{text}"\n' for n, text in enumerate(texts))
    )
    tables.write(
        tmp_path / "items.parquet", {"item_id": ["a", "b", "c"], " embedding": [text.encode() for text in texts]}
    )
    for name in ("items.csv", "items.parquet"):
        made = read_catalogue(tmp_path / name)
        assert made.has_embeddings and made.embedding_width() == 2
        np.testing.assert_array_equal(np.concatenate(list(made.embedding_blocks())), expected)
        assert "embedding" not in string_columns(made.table)
    tables.write(tmp_path / "items.parquet", {"item_id": ["a", "b", "c"], "embedding": [[], [1.0, 2.0], [3.0, 4.0]]})
    with pytest.raises(InputError, match="row 1: the vector is empty"):
        list(read_catalogue(tmp_path / "items.parquet").embedding_blocks())


def test_texts_are_kept_as_strings(tmp_path: Path) -> None:
    views = pa.array(["x", "y"], pa.string_view())
    try:
        pq.write_table(pa.table({"brand": views}), tmp_path / "views.parquet")
    except pa.ArrowNotImplementedError:  # an older pyarrow writes no views, so there is no such file
        views = pa.array(["x", "y"])
    made = make_catalogue(
        tmp_path,
        title=[b"a", b"b"],
        brand=views,
        picture=[b"\xff", b"\xd8"],
        tags=[[b"t"], []],
    )
    assert made.texts == ["a\nx", "b\ny"]
    assert kept(made) == {
        "title": ["a", "b"],
        "brand": ["x", "y"],
        "tags": [["t"], []],
    }


def test_columns_that_the_artifact_has_itself_are_dropped(tmp_path: Path) -> None:
    table = pa.table({name: ["x"] for name in (*OWN_COLUMNS, "title")} | {"price": [1.0], "sizes": [[1, 2]]})
    tables.write(tmp_path / "items.parquet", table)
    assert string_columns(read_catalogue(tmp_path / "items.parquet").table) == ["title"]


def test_a_catalogue_without_embeddings_or_texts_says_so(tmp_path: Path) -> None:
    made = make_catalogue(tmp_path, name=["a", "b"])
    assert len(made) == 2 and not made.has_embeddings and made.text_columns == []
    with pytest.raises(InputError, match=r"items\.parquet: there is no 'embedding' column"):
        made.embedding_width()
    with pytest.raises(InputError, match=r"has none of the text columns title.*\(columns: name, item_id\)"):
        made.require_texts()
    with pytest.raises(InputError, match=r"row 2: 1 of 2 items have no text \(item_id 'i1'\)"):
        make_catalogue(tmp_path, title=["a", " "]).require_texts()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"title": ["a"]}, "column 'item_id' is missing"),
        ({"item_id": ["x", "x"]}, "row 2: duplicate id 'x'"),
        ({"item_id": ["x", None]}, "row 2: the id is missing"),
        ({"item_id": ["x", " "]}, "row 2: the id ' ' is white space alone"),
    ],
)
def test_bad_ids(tmp_path: Path, columns: dict[str, list[str | None]], words: str) -> None:
    tables.write(tmp_path / "items.parquet", columns)
    with pytest.raises(InputError, match=words):
        read_catalogue(tmp_path / "items.parquet")
