"""The Hugging Face hub: addresses, and what is read from its cache without the network."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.tables.sources.hub import parse_address
from tests.support.table_sources import COMMIT, put_into_hub_cache, serve_hub, use_folder_as_caches

NAME = "shop/items"


def parquet(*values: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"item_id": list(values)}), sink)
    return sink.getvalue()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_folder_as_caches(tmp_path, monkeypatch)


def ids(place: str | Path) -> list[str]:
    values: list[str] = tables.read(place).column("item_id").to_pylist()
    return values


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf://imdb", ("imdb", None, None, None)),
        ("hf://me/shop", ("me/shop", None, None, None)),
        ("hf://me/shop/small", ("me/shop", "small", None, None)),
        ("hf://me/shop@v1.0", ("me/shop", None, "v1.0", None)),
        ("hf://me/shop/small@refs/convert/parquet", ("me/shop", "small", "refs/convert/parquet", None)),
        ("hf://datasets/me/shop/data/*.parquet", ("me/shop", None, None, "data/*.parquet")),
        ("hf://datasets/me/shop@refs%2Fpr%2F1/a.csv", ("me/shop", None, "refs/pr/1", "a.csv")),
        ("hf://datasets/me/shop@v1", ("me/shop", None, "v1", None)),
    ],
)
def test_addresses(text: str, parts: tuple[str | None, ...]) -> None:
    address = parse_address(text)
    assert (address.name, address.config, address.revision, address.path) == parts


def test_other_addresses_are_refused() -> None:
    for text in ("hf://", "hf://me/", "hf://me shop/x"):
        with pytest.raises(InputError, match=r"no data set of the Hugging Face hub. Write hf://OWNER/NAME"):
            parse_address(text)


def test_a_data_set_in_the_cache_is_read_offline(hub: Path) -> None:
    files = {f"data/{split}-00000-of-00001.parquet": parquet(split, "x") for split in ("train", "test")}
    put_into_hub_cache(hub, NAME, files)
    assert ids(f"hf://{NAME}:train") == ids(f"hf://{NAME}@{COMMIT}:train") == ["train", "x"]
    assert ids(Path(f"hf://{NAME}:test[:1]")) == ["test"]  # pathlib makes one slash of two
    assert ids(f"hf://datasets/{NAME}/data/te*.parquet") == ["test", "x"]
    assert ids(f"https://huggingface.co/datasets/{NAME}/resolve/main/data/test-00000-of-00001.parquet") == ["test", "x"]
    with pytest.raises(InputError, match=rf"hf://{NAME}: there are the splits train, test, and none was named"):
        ids(f"hf://{NAME}")
    with pytest.raises(InputError, match=r"there is no split 'dev'. Use train, test or all"):
        ids(f"hf://{NAME}:dev")
    with pytest.raises(InputError, match="no file matches"):
        ids(f"hf://datasets/{NAME}/data/dev*.parquet")


def test_ids_of_a_csv_on_the_hub_stay_text(hub: Path) -> None:
    put_into_hub_cache(hub, NAME, {"items.csv": b"item_id,title\n007,NA\n"})
    assert tables.read(f"hf://{NAME}").to_pydict() == {"item_id": ["007"], "title": ["NA"]}


def test_configurations(hub: Path) -> None:
    header = "".join(f"- config_name: {name}\n  data_files: {name}/*.csv\n" for name in ("big", "small"))
    files = {"big/a.csv": b"item_id\n1\n", "small/a.csv": b"item_id\n2\n"}
    put_into_hub_cache(hub, NAME, {"README.md": f"---\nconfigs:\n{header}---\n".encode(), **files})
    assert ids(f"hf://{NAME}/small") == ["2"]
    with pytest.raises(InputError, match=r"hf://shop/items: .*'big', 'small'.* Name a configuration: hf://NAME/CONFIG"):
        ids(f"hf://{NAME}")
    with pytest.raises(InputError, match=r"medium.*'big', 'small'"):
        ids(f"hf://{NAME}/medium")


def test_what_is_not_in_the_cache_is_refused_offline(hub: Path) -> None:
    with pytest.raises(
        InputError, match=r"hf://shop/items: not in the cache, and HF_HUB_OFFLINE is set. Run once with"
    ):
        ids(f"hf://{NAME}")
    put_into_hub_cache(hub, NAME, {"data/train-00000-of-00002.parquet": parquet("a")})
    with pytest.raises(InputError, match="the cache lacks 1 of its 2 files of split train"):
        ids(f"hf://{NAME}")
    with pytest.raises(InputError, match="not in the cache"):
        ids(f"hf://{NAME}@v2")


def test_a_loading_script_is_never_run(hub: Path, tmp_path: Path) -> None:
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')"
    put_into_hub_cache(hub, NAME, {"items.py": trap.encode(), "raw/items.jsonl": b'{"item_id": "a"}\n'})
    with pytest.raises(InputError, match=r"a loading script, which gti never runs. Give its files: .* hf://datasets/"):
        ids(f"hf://{NAME}")
    assert ids(f"hf://datasets/{NAME}/raw/items.jsonl") == ids(f"hf://datasets/{NAME}/raw") == ["a"]
    assert not (tmp_path / "ran").exists()


def test_the_manifest_names_the_commit_and_the_digest_of_the_files(hub: Path, tmp_path: Path) -> None:
    content = parquet("a", "b")
    put_into_hub_cache(hub, NAME, {"items.parquet": content})
    (tmp_path / "items.parquet").write_bytes(content)
    described = tables.locate(f"hf://{NAME}").describe()
    local = tables.locate(tmp_path / "items.parquet").describe()
    assert described == {**local, "path": f"hf://{NAME}", "revision": COMMIT}


def test_a_hub_that_does_not_answer_leaves_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import datasets
    import huggingface_hub

    def no_answer(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach the hub")

    hub = use_folder_as_caches(tmp_path, monkeypatch, offline=False)
    monkeypatch.setattr("gti_cli.network.hub_answers", lambda name: True)  # it broke off later
    monkeypatch.setattr(datasets, "load_dataset_builder", no_answer)
    with pytest.raises(InputError, match=r"not in the cache, and the hub does not answer \(ConnectionError\)"):
        ids(f"hf://{NAME}")
    put_into_hub_cache(hub, NAME, {"items.csv": b"item_id\n1\n"})
    monkeypatch.setattr(huggingface_hub, "HfApi", no_answer)
    assert ids(f"hf://datasets/{NAME}/items.csv") == ["1"]
    assert "the hub does not answer; looking in the cache" in capsys.readouterr().err


def test_a_builder_that_says_its_place_as_a_web_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 4.0 of `datasets` names the data set so, and its files as all versions do."""
    import datasets

    load = datasets.load_dataset_builder

    def as_version_4_0(*arguments: Any, **options: Any) -> Any:
        builder = load(*arguments, **options)
        builder.base_path = f"https://huggingface.co/datasets/{NAME}/resolve/{COMMIT}"
        return builder

    use_folder_as_caches(tmp_path, monkeypatch, offline=False)
    monkeypatch.setattr(datasets, "load_dataset_builder", as_version_4_0)
    with serve_hub({NAME: {"data/train.parquet": parquet("a")}}, monkeypatch):
        assert ids(f"hf://{NAME}") == ["a"]


def test_the_files_of_a_split_are_downloaded_and_read_offline_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shop = {
        "README.md": b"# Shop\n",
        "data/train-00000-of-00002.parquet": parquet("a", "b"),
        "data/train-00001-of-00002.parquet": parquet("c"),
        "data/test-00000-of-00001.parquet": parquet("z"),
    }
    script = {"script.py": b"raise SystemExit", "raw/x.jsonl": b'{"item_id": "r"}\n'}
    use_folder_as_caches(tmp_path, monkeypatch, offline=False)
    with serve_hub({NAME: shop, "me/script": script}, monkeypatch) as server:
        assert ids(f"hf://{NAME}:train[1:]") == ["b", "c"]
        assert not [path for _, path in server.requests if "test-00000" in path]  # another split's
        assert tables.locate(f"hf://{NAME}:train").describe()["revision"] == COMMIT
        assert ids("hf://datasets/me/script/raw/*.jsonl") == ["r"]
        for place, problem in (
            (f"hf://{NAME}", "the splits train, test, and none was named"),
            ("hf://me/none", "doesn't exist on the Hub or cannot be accessed. Check the name, and HF_TOKEN"),
            ("hf://datasets/me/none/x.csv", "the hub has no such data set or revision"),
            ("hf://me/script", "a loading script, which gti never runs"),
        ):
            with pytest.raises(InputError, match=problem):
                ids(place)
    use_folder_as_caches(tmp_path, monkeypatch)
    assert ids(f"hf://{NAME}:train") == ["a", "b", "c"]
    with pytest.raises(InputError, match="the splits train, test, and none was named"):
        ids(f"hf://{NAME}")
    with pytest.raises(InputError, match="the cache lacks 1 of 1 files, and HF_HUB_OFFLINE is set"):
        ids(f"hf://{NAME}:test")
    assert "Retrying" not in capfd.readouterr().err
