from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from gti_cli import tables
from gti_cli.app import run
from tests.support.semantic_ids import make_items
from tests.support.table_sources import COMMIT, put_into_hub_cache, rename, use_folder_as_caches


def test_tables_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = str(make_items(tmp_path))
    command = ["build-ids", items, "-w", str(tmp_path / "ws"), "--levels", "2", "--codes", "16", "--quiet"]
    assert run(command) == 0
    out = capsys.readouterr().out
    assert "perplexity" in out and "collision rate" in out and "semantic_ids.parquet" in out
    assert run([*command, "--json"]) == 0  # done already: the same report
    printed = json.loads(capsys.readouterr().out)
    assert printed["details"]["sizes"] == [16, 16]


def test_every_option_reaches_the_stage(tmp_path: Path) -> None:
    items = str(make_items(tmp_path))
    options = {
        "--encoder": "lsa",
        "--text-columns": "title",
        "--quantizer": "rq-vae",
        "--codes": "16,8",
        "--collisions": "sinkhorn",
        "--hidden": "16,8",
        "--latent": "4",
        "--dropout": "0.2",
        "--commitment": "0.5",
        "--epochs": "3",
        "--batch-size": "32",
        "--learning-rate": "0.01",
        "--warm-up": "1",
        "--start": "rq-kmeans",
        "--diversity": "0.01",
        "--sinkhorn": "0.05",
        "--patience": "2",
        "--check-every": "1",
        "--seed": "7",
    }
    flat = [part for pair in options.items() for part in pair]
    assert run(["build-ids", items, "-w", str(tmp_path / "ws"), *flat, "-q"]) == 0
    manifest = json.loads((tmp_path / "ws" / "semantic_ids.json").read_text())
    assert manifest["seed"] == 7
    assert manifest["options"]["rqvae"]["hidden"] == [16, 8]
    assert manifest["options"]["rqvae"]["learning_rate"] == 0.01
    assert manifest["options"]["rqvae"]["start"] == "rq-kmeans"
    assert (manifest["options"]["rqvae"]["diversity"], manifest["options"]["rqvae"]["sinkhorn"]) == (0.01, 0.05)
    assert manifest["options"]["collisions"] == "sinkhorn"
    assert manifest["options"]["text_columns"] == ["title"]
    kmeans = [
        "--iterations",
        "5",
        "--restarts",
        "2",
        "--sample",
        "50",
        "--balanced",
        "--beam",
        "3",
        "--levels",
        "2",
        "--codes",
        "16",
    ]
    assert run(["build-ids", items, "-w", str(tmp_path / "ws2"), *kmeans, "-q"]) == 0
    manifest = json.loads((tmp_path / "ws2" / "semantic_ids.json").read_text())
    assert manifest["options"]["kmeans"] == {
        "iterations": 5,
        "restarts": 2,
        "sample": 50,
        "balanced": True,
        "beam": 3,
    }
    assert manifest["metrics"]["trained_on"] == 50


GOOD = {"item_id": ["a", "b", "c"], "title": ["red dress", "blue dress", "grey coat"]}
NAN = float("nan")


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({**GOOD, "item_id": ["a", "b", "a"]}, [], "row 3: duplicate id 'a' (first in row 1)"),
        ({**GOOD, "item_id": ["a", None, "c"]}, [], "row 2: the id is missing"),
        ({"title": ["red"]}, [], "column 'item_id' is missing"),
        ({**GOOD, "title": ["red", "", "grey"]}, [], "row 2: 1 of 3 items have no text (item_id 'b')"),
        ({**GOOD, "embedding": [[1.0, 2.0], [NAN, 1.0], [0.0, 1.0]]}, [], "row 2: the vector holds NaN or infinity"),
        ({**GOOD, "embedding": [[1.0, 2.0], [1.0], [0.0, 1.0]]}, [], "row 2: 1 numbers where the first row has 2"),
        (GOOD, ["--codes", "256"], "items, 3, is below that of the codes of level 0, 256"),
        (GOOD, ["--dropout", "2"], "--dropout must be at least 0"),
        (GOOD, ["--sample", "0"], "--sample must be at least 1"),
        (GOOD, ["--pooling", "max"], "unknown --pooling 'max'"),
        (GOOD, ["--max-tokens", "1"], "--max-tokens must be at least 2"),
        (GOOD, ["--batch-tokens", "0"], "--batch-tokens must be at least 1"),
        (GOOD, ["--beam", "0"], "--beam must be at least 1"),
        (GOOD, ["--hidden", "x"], "--hidden 'x' is no list"),
        (GOOD, ["--import-index", "nothing.json"], "nothing.json: no such file"),
        (GOOD, ["--device", "tpu"], "unknown device 'tpu'"),
        (GOOD, ["--dtype", "int8"], "unknown dtype 'int8'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: dict[str, Any], options: list[str], words: str
) -> None:
    tables.write(tmp_path / "items.parquet", columns)
    sizes = [] if "--codes" in options else ["--codes", "2", "--levels", "2"]
    assert run(["build-ids", str(tmp_path / "items.parquet"), "-w", str(tmp_path / "ws"), *sizes, *options]) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1 and not printed.out
    assert not list((tmp_path / "ws").glob("[!.]*"))


def test_a_truncated_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_items(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    assert run(["build-ids", str(path), "-w", str(tmp_path / "ws")]) == 2
    assert "cannot be read as parquet" in capsys.readouterr().err
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize("quantizer", ["rq-kmeans", "rq-vae"])
def test_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str], quantizer: str) -> None:
    items = str(make_items(tmp_path, categories=["$a_b$ > c", None] * 40))
    command = ["build-ids", items, "-w", str(tmp_path / "ws"), "--levels", "2", "--codes", "16", "--plot", "-q"]
    command += ["--quantizer", quantizer]
    if quantizer == "rq-vae":
        command += ["--epochs", "2", "--warm-up", "1", "--check-every", "1", "--hidden", "16"]
    assert run(command) == 0
    printed = capsys.readouterr().out
    assert "purity of categories" in printed and "neighbours kept" in printed and "The fullest first codes" in printed
    stems = ["semantic_ids", "rqvae_history"] if quantizer == "rq-vae" else ["semantic_ids"]
    pictures = [tmp_path / "ws" / f"{stem}{ending}" for stem in stems for ending in (".png", ".svg")]
    assert all(str(path) in printed for path in pictures)
    if quantizer == "rq-vae":  # its pictures are those of the other quantizer, and one more
        before = [path.read_bytes() for path in pictures]
        assert run(command) == 0  # done already; drawn anew, the same bytes
        assert [path.read_bytes() for path in pictures] == before
        history = tables.read(tmp_path / "ws" / "rqvae_history.parquet")
        assert history.column("epoch").to_pylist() == [1, 2]
        assert "use_1" in history.column_names


def test_a_data_set_of_the_hub_resumes_and_a_new_commit_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = use_folder_as_caches(tmp_path / "cache", monkeypatch)
    embedding = np.random.default_rng(0).normal(size=(80, 6)).tolist()
    items = make_items(tmp_path, embedding=embedding)
    table = rename(pq.read_table(items), {"item_id": "sku", "embedding": "vector"})
    for name, part in (("a", table.slice(0, 30)), ("b", table.slice(30))):
        pq.write_table(part, tmp_path / f"{name}.parquet")
    files = {f"{name}.parquet": (tmp_path / f"{name}.parquet").read_bytes() for name in ("a", "b")}
    put_into_hub_cache(hub, "me/shop", files)
    sizes = ["--levels", "2", "--codes", "16", "--encoder", "column"]
    from_hub = ["build-ids", "hf://me/shop", "-w", str(tmp_path / "1"), "--columns", "item_id=sku,embedding=vector"]
    assert run([*from_hub, *sizes]) == 0
    assert run(["build-ids", str(items), "-w", str(tmp_path / "2"), *sizes]) == 0
    for name in ("semantic_ids.parquet", "items.parquet", "codebooks.safetensors", "embeddings.safetensors"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name
    recorded = json.loads((tmp_path / "1" / "semantic_ids.json").read_text())["inputs"]["items"]
    assert recorded["columns"] == {"item_id": "sku", "embedding": "vector"}
    assert (recorded["path"], recorded["revision"]) == ("hf://me/shop", COMMIT)

    capsys.readouterr()
    assert run([*from_hub, *sizes]) == 0
    assert "is up to date" in capsys.readouterr().err
    assert run(["status", "-w", str(tmp_path / "1")]) == 0
    assert "stale" not in capsys.readouterr().out
    put_into_hub_cache(hub, "me/shop", {"a.parquet": files["a.parquet"]}, commit=COMMIT[::-1])
    assert run([*from_hub, *sizes]) == 2
    assert "input items differs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "options", "words"),
    [
        ("hf://me/none", [], "hf://me/none: not in the cache, and HF_HUB_OFFLINE is set"),
        ("*.csv", [], "*.csv: no file matches"),
        ("items.parquet:test", [], "there is no split 'test'. Use train or all"),
        ("items.parquet", ["--columns", "item_id=sku"], "names 'sku', and there is no such column. The columns are"),
        ("items.parquet", ["--columns", "id=item_id"], "--columns names 'id', which no table of gti has"),
        ("items.parquet", ["--columns", "title=item_id"], "column 'item_id' is missing (the table has title"),
        ("twice.parquet", ["--columns", "item_id=title"], "column 'title', row 2: duplicate id 'red'"),
    ],
)
def test_a_table_that_cannot_be_found_or_named_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    options: list[str],
    words: str,
) -> None:
    use_folder_as_caches(tmp_path / "cache", monkeypatch)
    tables.write(tmp_path / "items.parquet", GOOD)
    tables.write(tmp_path / "twice.parquet", {"title": ["red", "red"]})
    monkeypatch.chdir(tmp_path)
    assert run(["build-ids", place, "-w", "ws", *options]) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1 and not printed.out and not (tmp_path / "ws").exists()
