"""Folders: the splits that `datasets` finds in them, and what is said of files that are not read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from tests.support.table_sources import use_folder_as_caches


@pytest.fixture(autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    use_folder_as_caches(tmp_path_factory.mktemp("cache"), monkeypatch)


def write(folder: Path, **values: str) -> Path:
    """Write a CSV file of one row for each name; returns the folder."""
    for name, value in values.items():
        path = folder / f"{name.replace('__', '/').replace('_', '-')}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"item_id\n{value}\n")
    return folder


def ids(place: str | Path) -> list[str]:
    values: list[str] = tables.read(place).column("item_id").to_pylist()
    return values


def test_a_folder_of_shards_is_one_table(tmp_path: Path) -> None:
    write(tmp_path, part_0="007", part_1="08", inner__part_2="9")
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / ".part.csv.crc").write_text("")
    assert sorted(ids(tmp_path)) == ["007", "08", "9"]
    assert ids(f"{tmp_path}:train[:1]") == ids(tmp_path)[:1]


def test_splits_are_named_by_files_and_folders(tmp_path: Path) -> None:
    write(tmp_path, train__1="a", train__2="b", test__1="c")
    assert ids(f"{tmp_path}:train") == ["a", "b"]
    assert ids(f"{tmp_path}:test+train") == ["c", "a", "b"]
    assert ids(f"{tmp_path}:all") == ["a", "b", "c"]
    with pytest.raises(InputError, match=r"the splits train, test, and none was named. Name one, as in .*:train, sev"):
        ids(tmp_path)
    with pytest.raises(InputError, match=r"there is no split 'valid'. Use train, test or all"):
        ids(f"{tmp_path}:valid")


def test_splits_are_named_by_the_header_of_the_readme(tmp_path: Path) -> None:
    write(tmp_path, old="a", new="b")
    header = "configs:\n- config_name: default\n  data_files:\n  - split: fresh\n    path: new.csv\n"
    (tmp_path / "README.md").write_text(f"---\n{header}---\n# Shop\n")
    assert ids(f"{tmp_path}:fresh") == ["b"]
    (tmp_path / "README.md").write_text(f"---\n{header}  sep: ';'\n  header: 3\n---\n")
    with pytest.raises(InputError, match="asks to read its files with header=3, which gti does not do"):
        ids(tmp_path)
    (tmp_path / "new.csv").write_text("item_id;title\n007;a, b\n")
    (tmp_path / "README.md").write_text(f"---\n{header}  sep: ';'\n---\n")
    assert tables.read(tmp_path).to_pydict() == {"item_id": ["007"], "title": ["a, b"]}


def test_what_datasets_saved_is_read(tmp_path: Path) -> None:
    import datasets

    whole = datasets.Dataset.from_dict({"item_id": ["007", "08", "9"]})
    whole.save_to_disk(tmp_path / "one", num_shards=2)
    datasets.DatasetDict(train=whole, test=whole.select([1])).save_to_disk(tmp_path / "two")
    assert ids(tmp_path / "one") == ids(f"{tmp_path}/two:train") == ["007", "08", "9"]
    assert ids(f"{tmp_path}/two:test") == ["08"]
    (tmp_path / "two" / "test" / "state.json").write_text("{")
    with pytest.raises(InputError, match="the data set that was saved there is damaged"):
        ids(f"{tmp_path}/two:test")


def test_files_that_are_left_out_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, a="1", b="2")
    tables.write(tmp_path / "c.parquet", {"item_id": ["3"]})
    assert ids(tmp_path) == ["1", "2"]
    assert "files of another kind are not read ('c.parquet'): name them by a glob" in capsys.readouterr().err


def test_missing_shards_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, data__train_00000_of_00003="1", data__train_00002_of_00003="2")
    assert ids(tmp_path) == ["1", "2"]
    assert "split train lacks 1 of its 3 files" in capsys.readouterr().err


@pytest.mark.parametrize("name", [None, "note.txt", "photo.png", "shop.py"])
def test_a_folder_without_tables_is_refused(tmp_path: Path, name: str | None) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    if name is not None:
        (folder / name).write_text("x")
    with pytest.raises(
        InputError, match=rf"^{folder}: .*(no data there|holds no table|loading script, which gti never)"
    ):
        ids(folder)
