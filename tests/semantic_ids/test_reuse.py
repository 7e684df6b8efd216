from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from gti_cli import tables
from gti_cli.app import run
from gti_cli.errors import InputError
from gti_cli.semantic_ids.build import build_ids
from gti_cli.semantic_ids.options import KMeansOptions
from gti_cli.semantic_ids.quantizers import residual_codes
from gti_cli.workspace import Workspace
from tests.support.semantic_ids import TINY_RQVAE, make_items, new_items


@pytest.mark.parametrize("collisions", ["next-best", "sinkhorn", "allow"])
@pytest.mark.parametrize("quantizer", ["rq-kmeans", "rq-vae"])
def test_earlier_ids_stay_and_new_ones_come_from_the_codebooks(tmp_path: Path, quantizer: str, collisions: str) -> None:
    space = tmp_path / "ws"
    rqvae = TINY_RQVAE if quantizer == "rq-vae" else None
    first = build_ids(
        make_items(tmp_path), space, levels=2, codes=16, quantizer=quantizer, rqvae=rqvae, collisions=collisions
    )
    before = tables.read_semantic_ids(space / "semantic_ids.parquet")
    books, vectors = (space / "codebooks.safetensors").read_bytes(), load_file(space / "embeddings.safetensors")
    done = build_ids(new_items(tmp_path), space, reuse=True)
    after = tables.read_semantic_ids(space / "semantic_ids.parquet")
    assert after.item_ids[:80] == before.item_ids and len(after.item_ids) == 92
    np.testing.assert_array_equal(after.codes[:80], before.codes)
    assert (space / "codebooks.safetensors").read_bytes() == books
    again = load_file(space / "embeddings.safetensors")["embeddings"]
    np.testing.assert_array_equal(again[:80], vectors["embeddings"])
    if collisions != "allow":
        assert len(set(after.tokens)) == 92
    assert done.identity == first.identity and done.digest != first.digest
    assert (done.counts["items"], done.counts["new_items"]) == (92, 12)
    assert done.details["batches"][0]["items"] == 12
    items = tables.read(space / "items.parquet")
    assert items.num_rows == 92 and items.column_names == ["item_id", "text", "title", "brand", "same_as"]
    if quantizer == "rq-kmeans" and collisions == "allow":
        levels = load_file(space / "codebooks.safetensors")
        expected = residual_codes.encode(again[80:], [levels["level_0"], levels["level_1"]])
        np.testing.assert_array_equal(after.codes[80:], expected)


def test_the_same_text_gets_the_same_embedding(tmp_path: Path) -> None:
    items = make_items(tmp_path)
    build_ids(items, tmp_path / "ws", levels=2, codes=16)
    table = tables.read(items)
    copy = table.set_column(0, "item_id", [[f"copy of {item}" for item in table.column("item_id").to_pylist()]])
    tables.write(tmp_path / "copy.parquet", copy)
    done = build_ids(tmp_path / "copy.parquet", tmp_path / "ws", reuse=True)
    vectors = load_file(tmp_path / "ws" / "embeddings.safetensors")["embeddings"]
    np.testing.assert_allclose(vectors[80:], vectors[:80], atol=1e-6)
    assert done.metrics["collisions_after"]["items"] == 0


def test_batch_after_batch_and_the_same_batch_again(tmp_path: Path) -> None:
    space = tmp_path / "ws"
    build_ids(make_items(tmp_path), space, levels=2, codes=16)
    one, two = new_items(tmp_path, name="one.parquet"), new_items(tmp_path, start=2000, name="two.parquet")
    build_ids(one, space, reuse=True)
    done = build_ids(two, space, reuse=True)
    assert [batch["items"] for batch in done.details["batches"]] == [12, 12]
    assert build_ids(one, space, reuse=True) == done
    assert Workspace(space).require("semantic_ids", "gti build-ids").counts["items"] == 104
    with pytest.raises(InputError, match="made already"):
        build_ids(make_items(tmp_path), space, levels=2, codes=16)


def test_new_columns_and_missing_columns(tmp_path: Path) -> None:
    build_ids(make_items(tmp_path), tmp_path / "ws", levels=2, codes=16, text_columns=["title"])
    build_ids(new_items(tmp_path, colour=["red"] * 12), tmp_path / "ws", reuse=True)
    items = tables.read(tmp_path / "ws" / "items.parquet")
    assert items.column("brand").to_pylist()[80:] == [None] * 12
    assert items.column("colour").to_pylist() == [None] * 80 + ["red"] * 12


def test_suffix_counts_on_and_refuses_tokens_that_the_model_lacks(tmp_path: Path) -> None:
    space = tmp_path / "ws"
    vectors = np.random.default_rng(0).standard_normal((80, 4)).astype(np.float32)
    items = make_items(tmp_path, embedding=vectors.tolist())
    build_ids(items, space, levels=1, codes=8, collisions="suffix")
    before = tables.read_semantic_ids(space / "semantic_ids.parquet")
    sizes = np.bincount(before.codes[:, 0])
    rare = int(np.flatnonzero(before.codes[:, 0] == sizes.argmin())[0])
    build_ids(new_items(tmp_path, 1, embedding=[vectors[rare].tolist()]), space, reuse=True)
    after = tables.read_semantic_ids(space / "semantic_ids.parquet")
    assert after.codes[80].tolist() == [int(sizes.argmin()), int(sizes.min())]
    full = int(np.flatnonzero(before.codes[:, 0] == sizes.argmax())[0])
    path = new_items(tmp_path, 1, 2000, "more.parquet", embedding=[vectors[full].tolist()])
    kept = (space / "semantic_ids.parquet").read_bytes()
    with pytest.raises(InputError, match="items share a tuple, and the model has"):
        build_ids(path, space, reuse=True)
    assert (space / "semantic_ids.parquet").read_bytes() == kept


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder": "column"}, "--encoder column is not what the semantic IDs were made with"),
        ({"codes": 32}, "--codes .32, 32. is not"),
        ({"levels": 3}, "--levels 3 is not"),
        ({"collisions": "allow"}, "--collisions allow is not"),
        ({"quantizer": "rq-vae"}, "--quantizer rq-vae is not"),
        ({"text_columns": ["title"]}, "--text-columns"),
        ({"import_index": "some.json"}, "--import-index some.json is not"),
        ({"kmeans": KMeansOptions(beam=2)}, r"--beam 2 is not what the semantic IDs were made with \(1\)"),
    ],
)
def test_other_options_than_the_first_run(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    build_ids(make_items(tmp_path), tmp_path / "ws", levels=2, codes=16)
    new = new_items(tmp_path, brand=["Acme"] * 12)
    with pytest.raises(InputError, match=words):
        build_ids(new, tmp_path / "ws", reuse=True, **options)
    build_ids(new, tmp_path / "ws", reuse=True, levels=2, codes="16", encoder="lsa")  # the same said again is fine


def test_other_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        build_ids(new_items(tmp_path), tmp_path / "nowhere", reuse=True)
    space = tmp_path / "ws"
    vectors = np.random.default_rng(0).standard_normal((80, 4)).tolist()
    build_ids(make_items(tmp_path, embedding=vectors), space, levels=2, codes=10)
    with pytest.raises(InputError, match="no such file"):
        build_ids(tmp_path / "nothing.parquet", space, reuse=True)
    with pytest.raises(InputError, match=r"2 of the new items have semantic IDs already \(item_id 'i5', 'i6'\)"):
        known = {"item_id": ["i5", "i6"], "title": ["a", "b"], "brand": [None, None], "embedding": [[0.0] * 4] * 2}
        tables.write(tmp_path / "known.parquet", known)
        build_ids(tmp_path / "known.parquet", space, reuse=True)
    with pytest.raises(InputError, match="have 3 numbers, those of the first run 4"):
        build_ids(new_items(tmp_path, 2, embedding=[[0.0] * 3] * 2), space, reuse=True)
    with pytest.raises(InputError, match="101 items cannot all have their own of 10 x 10 = 100"):
        build_ids(new_items(tmp_path, 21, embedding=[[0.0] * 4] * 21), space, reuse=True)
    with pytest.raises(InputError, match="column has another type"):
        build_ids(new_items(tmp_path, 1, embedding=[[0.0] * 4], brand=[["a", "b"]]), space, reuse=True)


def test_words_that_the_lsa_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_ids(make_items(tmp_path), tmp_path / "ws", levels=2, codes=16)
    tables.write(tmp_path / "odd.parquet", {"item_id": ["x"], "title": ["xylophone"], "brand": [None]})
    assert build_ids(tmp_path / "odd.parquet", tmp_path / "ws", reuse=True).counts["texts_that_share_nothing"] == 1
    assert "no word that the LSA knows" in capsys.readouterr().err
    tables.write(tmp_path / "none.parquet", {"item_id": ["y"], "title": ["?!"], "brand": [None]})
    with pytest.raises(InputError, match="contain no word"):
        build_ids(tmp_path / "none.parquet", tmp_path / "ws", reuse=True)


def test_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = ["-w", str(tmp_path / "ws"), "-q"]
    assert run(["build-ids", str(make_items(tmp_path)), *space, "--levels", "2", "--codes", "16"]) == 0
    index = {item: ["<a_1>", "<b_1>"] for item in ("p", "q")}
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert run(["build-ids", str(new_items(tmp_path)), *space, "--reuse"]) == 0
    assert "12 of these items are new; the IDs of the others are unchanged." in capsys.readouterr().out
    assert run(["build-ids", str(new_items(tmp_path)), *space, "--reuse", "--codes", "8"]) == 0  # in already


def test_new_items_under_an_imported_index(tmp_path: Path) -> None:
    items = make_items(tmp_path, n=6)
    index = {f"i{row}": [f"<a_{row % 2}>", f"<b_{row // 2}>"] for row in range(6)}
    (tmp_path / "index.json").write_text(json.dumps(index))
    build_ids(items, tmp_path / "ws", import_index=tmp_path / "index.json")
    done = build_ids(new_items(tmp_path, 3), tmp_path / "ws", reuse=True)
    assert done.counts["items"] == 9 and done.details["sizes"] == [2, 3]


def test_run_options_that_change_nothing_are_said_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space, new = tmp_path / "ws", new_items(tmp_path, 3)
    build_ids(make_items(tmp_path), space, levels=2, codes=16, seed=5)
    with pytest.raises(InputError, match=r"--seed 6 is not what the semantic IDs were made with \(5\)"):
        build_ids(new, space, reuse=True, seed=6)
    capsys.readouterr()
    assert build_ids(new, space, reuse=True, seed=5, force=True, resume=False).seed == 5
    assert "--force and --no-resume change nothing with --reuse" in capsys.readouterr().err
    assert build_ids(new_items(tmp_path, 2, 500, "more.parquet"), space, reuse=True).seed == 5
    assert "change nothing" not in capsys.readouterr().err


def test_the_first_command_again_tells_what_was_added_since(tmp_path: Path) -> None:
    space, items = tmp_path / "ws", make_items(tmp_path)
    build_ids(items, space, levels=2, codes=16)
    build_ids(new_items(tmp_path), space, reuse=True)
    build_ids(new_items(tmp_path, 3, 2000, "more.parquet"), space, reuse=True)
    with pytest.raises(InputError, match=r"15 items were added with --reuse since\. Nothing to do, or pass --force"):
        build_ids(items, space, levels=2, codes=16)
    with pytest.raises(InputError, match=r"other inputs or options.*or another --workspace to keep both"):
        build_ids(items, space, levels=2, codes=12)
    assert len(tables.read_semantic_ids(space / "semantic_ids.parquet").item_ids) == 95
    assert build_ids(items, space, levels=2, codes=16, force=True).counts["items"] == 80
