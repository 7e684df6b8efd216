"""Tables on a web server and in other storage: read as a local file is, kept as long as they are unchanged."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.workspace.inputs import digest_input
from tests.support.table_sources import FileServer, serve_files, use_folder_as_caches

CSV = b"item_id,title\n007,hat\n"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    use_folder_as_caches(tmp_path / "cache", monkeypatch)
    with serve_files() as server:
        server.files = {"/shop/items.csv": CSV, "/shop/items.csv.gz": gzip.compress(CSV, mtime=0)}
        yield server


@pytest.mark.parametrize("name", ["items.csv", "items.csv.gz", "items.csv?key=abc:def"])
def test_a_file_is_read_as_a_local_one(server: FileServer, name: str, tmp_path: Path) -> None:
    table = tables.read(f"{server.url}/shop/{name}")
    (tmp_path / "items.csv").write_bytes(CSV)
    assert table.equals(tables.read(tmp_path / "items.csv"))


def test_the_copy_is_used_until_the_file_changes(server: FileServer) -> None:
    url = f"{server.url}/shop/items.csv"
    before = digest_input(tables.locate(url))
    assert tables.read(url).num_rows == 1
    assert server.downloads() == ["/shop/items.csv"]
    server.files["/shop/items.csv"] += b"08,cap\n"
    assert tables.read(url).num_rows == 2
    assert digest_input(tables.locate(url)) != before
    assert server.downloads() == ["/shop/items.csv"] * 2


def test_without_a_version_the_file_is_fetched_each_time(server: FileServer) -> None:
    server.etags = False
    url = f"{server.url}/shop/items.csv"
    assert tables.read(url).num_rows == 1
    server.files["/shop/items.csv"] = CSV.replace(b"007", b"008")  # of the same size
    assert tables.read(url).column("item_id").to_pylist() == ["008"]


def test_the_manifest_holds_the_digest_and_no_password(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_bytes(CSV)
    address = f"{server.url}/shop/items.csv?key=secret"
    described = tables.locate(address).describe()
    assert described == {
        "path": f"{server.url}/shop/items.csv",
        "bytes": len(CSV),
        "sha256": digest_input(tmp_path / "items.csv"),
    }


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/shop/none.csv", "none.csv: no such file"),
        ("/shop/items.xlsx", "the ending '.xlsx' is not known. Give a .parquet, .csv"),
        ("/shop/items.csv:test", "there is no split 'test'"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(server: FileServer, path: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        tables.read(server.url + path)


def test_a_server_that_does_not_answer_is_named(server: FileServer) -> None:
    with pytest.raises(
        InputError,
        match=r"http://127.0.0.1:9/items.csv: cannot be read: the server does not answer .* Check the address",
    ):
        tables.read("http://127.0.0.1:9/items.csv")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.registry import known_implementations

    missing = {"class": "absent_s3fs.S3FileSystem", "err": "Install s3fs to access S3"}
    monkeypatch.setitem(known_implementations, "s3", missing)
    with pytest.raises(InputError, match=r"^s3://bucket/items.csv: a package is missing: Install s3fs"):
        tables.read("s3://bucket/items.csv")
    with pytest.raises(InputError, match=r"^gopher://x/items.csv: this kind of address is not known"):
        tables.read("gopher://x/items.csv")


def test_globs_and_folders_of_other_storage(server: FileServer) -> None:
    import fsspec

    storage = fsspec.filesystem("memory")
    try:
        storage.pipe({f"/shop/part-{n}.csv": f"item_id\n{n}\n".encode() for n in (2, 0, 1)})
        storage.pipe("/shop/README", b"text")
        for place in ("memory://shop/*.csv", "memory://shop"):
            assert tables.read(place).column("item_id").to_pylist() == ["0", "1", "2"]
        assert tables.read("memory://shop/*.csv:train[1:]").num_rows == 2
        with pytest.raises(InputError, match="no file matches"):
            tables.read("memory://shop/*.parquet")
    finally:
        storage.rm("/shop", recursive=True)
