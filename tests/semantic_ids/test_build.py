from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from gti_cli import tables
from gti_cli.checkpoints.token_names import semantic_id
from gti_cli.errors import InputError
from gti_cli.semantic_ids.artifact import FILES
from gti_cli.semantic_ids.build import build_ids
from gti_cli.semantic_ids.encoders import sampled_lsa
from gti_cli.semantic_ids.options import RQVAEOptions
from gti_cli.semantic_ids.quantizers import residual_codes
from gti_cli.tables import block_table
from gti_cli.tables.arrays import string_column
from tests.support.semantic_ids import chinese_titles, clouds, make_items


def test_the_artifact(tmp_path: Path) -> None:
    manifest = build_ids(make_items(tmp_path), tmp_path / "ws", levels=3, codes=8)
    ids = tables.read_semantic_ids(tmp_path / "ws" / "semantic_ids.parquet")
    assert ids.item_ids == [f"i{row}" for row in range(80)]
    assert ids.tokens == [semantic_id(row) for row in ids.codes]
    assert len(set(ids.tokens)) == 80
    books = load_file(tmp_path / "ws" / "codebooks.safetensors")
    assert sorted(books) == ["level_0", "level_1", "level_2"]
    vectors = load_file(tmp_path / "ws" / "embeddings.safetensors")["embeddings"]
    greedy = residual_codes.encode(vectors, [books[f"level_{level}"] for level in range(3)])
    assert (greedy != ids.codes).any(axis=1).sum() == manifest.counts["moved"]
    items = tables.read(tmp_path / "ws" / "items.parquet")
    assert items.column_names == ["item_id", "text", "title", "brand", "same_as"]
    assert items.column("brand").to_pylist()[:2] == ["Acme", None]
    assert manifest.details["sizes"] == [8, 8, 8] and manifest.details["levels"] == 3
    assert manifest.identity == manifest.details["identity"]
    assert manifest.metrics["collisions_after"]["rate"] == 0
    assert sorted(manifest.outputs) == sorted([*FILES, "reuse.safetensors"])


@pytest.mark.parametrize("quantizer", ["rq-kmeans", "rq-vae"])
def test_same_seed_same_bytes(tmp_path: Path, quantizer: str) -> None:
    items = make_items(tmp_path)
    small = RQVAEOptions(hidden=(16,), latent=4, epochs=4, warm_up=2, check_every=2)
    rqvae = small if quantizer == "rq-vae" else None
    made = [
        build_ids(items, tmp_path / name, levels=2, codes=[16, 8], quantizer=quantizer, rqvae=rqvae, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert made[0].digest == made[1].digest
    for file in FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert made[0].identity != made[2].identity
    assert made[0].metrics["collisions_after"]["items"] == 0
    if quantizer == "rq-vae":
        assert load_file(tmp_path / "a" / "codebooks.safetensors")["level_0"].shape == (16, 4)
        assert made[0].metrics["rqvae"]["epochs"] == 4


@pytest.mark.parametrize("encoder", ["column", "lsa"])
def test_a_large_catalogue_that_stays_on_disk_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str
) -> None:
    more = {"embedding": clouds(80, 6).tolist()} if encoder == "column" else {}
    items = make_items(tmp_path, categories=[["a", "b"][: row % 3] for row in range(80)], price=[1.5] * 80, **more)
    monkeypatch.setattr(sampled_lsa, "WHOLE", 10)
    monkeypatch.setattr(sampled_lsa, "_BLOCK", 7)
    small = build_ids(items, tmp_path / "small", levels=2, codes=16, encoder=encoder)
    monkeypatch.setattr(block_table, "LARGE", 0)
    monkeypatch.setattr(string_column, "MOST_IN_MEMORY", 100)
    large = build_ids(items, tmp_path / "large", levels=2, codes=16, encoder=encoder)
    assert (large.metrics, large.counts) == (small.metrics, small.counts)
    for name in small.outputs:
        assert (tmp_path / "large" / name).read_bytes() == (tmp_path / "small" / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.parquet", "large", "small"]


def test_done_already_and_refused_with_other_options(tmp_path: Path) -> None:
    items = make_items(tmp_path)
    first = build_ids(items, tmp_path / "ws", levels=2, codes=16)
    assert build_ids(items, tmp_path / "ws", levels=2, codes="16") == first
    with pytest.raises(InputError, match="made already, with other inputs or options"):
        build_ids(items, tmp_path / "ws", levels=3, codes=16)
    assert build_ids(items, tmp_path / "ws", levels=3, codes=16, force=True).identity != first.identity


def test_suffix_adds_a_level_with_vectors(tmp_path: Path) -> None:
    manifest = build_ids(make_items(tmp_path), tmp_path / "ws", levels=1, codes=8, collisions="suffix")
    ids = tables.read_semantic_ids(tmp_path / "ws" / "semantic_ids.parquet")
    assert len(set(ids.tokens)) == 80
    assert manifest.details["sizes"] == [8, int(ids.codes[:, 1].max()) + 1]
    books = load_file(tmp_path / "ws" / "codebooks.safetensors")
    assert books["level_1"].shape[0] == manifest.details["sizes"][1]
    vectors = load_file(tmp_path / "ws" / "embeddings.safetensors")["embeddings"]
    rest = vectors - books["level_0"][ids.codes[:, 0]]
    np.testing.assert_allclose(books["level_1"][1], rest[ids.codes[:, 1] == 1].mean(axis=0), atol=1e-5)
    assert "explained_variance" not in manifest.metrics["levels"][1]


def test_identical_embeddings_are_reported_and_still_get_ids_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = np.random.default_rng(0).standard_normal((80, 6)).astype(np.float32)
    vectors[10:30] = vectors[3]
    items = make_items(tmp_path, embedding=vectors.tolist())
    manifest = build_ids(items, tmp_path / "ws", levels=2, codes=10)
    assert manifest.counts["identical_embeddings"] == 20
    assert "'i10 = i3'" in capsys.readouterr().err
    same_as = tables.read(tmp_path / "ws" / "items.parquet").column("same_as").to_pylist()
    assert [row for row, item in enumerate(same_as) if item] == list(range(10, 30))
    assert manifest.counts["moved_prefix"] >= 10  # 21 alike, 10 codes below a prefix
    assert manifest.metrics["collisions_after"]["items"] == 0


def test_import_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = make_items(tmp_path, n=6)
    codes = [[0, 0], [0, 1], [1, 0], [1, 0], [2, 3], [2, 2]]
    index = {f"i{row}": [f"<a_{a}>", f"<b_{b}>"] for row, (a, b) in enumerate(codes)} | {"gone": ["<a_0>", "<b_0>"]}
    (tmp_path / "index.json").write_text(json.dumps(index))
    manifest = build_ids(items, tmp_path / "ws", import_index=tmp_path / "index.json")
    assert tables.read_semantic_ids(tmp_path / "ws" / "semantic_ids.parquet").codes.tolist() == codes
    assert manifest.details["sizes"] == [3, 4] and manifest.details["collisions"] == "allow"
    assert manifest.metrics["collisions_after"]["items"] == 2
    assert manifest.counts["index_entries_without_item"] == 1
    assert "left out" in capsys.readouterr().err
    vectors = load_file(tmp_path / "ws" / "embeddings.safetensors")["embeddings"]
    books = load_file(tmp_path / "ws" / "codebooks.safetensors")
    np.testing.assert_allclose(books["level_0"][2], vectors[4:].mean(axis=0), atol=1e-6)
    mended = build_ids(items, tmp_path / "ws2", import_index=tmp_path / "index.json", collisions="next-best")
    assert mended.metrics["collisions_after"]["items"] == 0


def test_fewer_different_embeddings_than_codes(tmp_path: Path) -> None:
    items = make_items(tmp_path, embedding=[[float(row % 5), 1.0] for row in range(80)])
    with pytest.raises(InputError, match="different embeddings, 5, is below that of the codes of level 0, 16"):
        build_ids(items, tmp_path / "ws", levels=2, codes=16)
    assert not list((tmp_path / "ws").glob("[!.]*"))  # the hidden lock stays


def test_one_item(tmp_path: Path) -> None:
    manifest = build_ids(make_items(tmp_path, n=1), tmp_path / "ws", levels=2, codes=1)
    assert manifest.metrics["collisions_after"] == {"distinct": 1, "rate": 0.0, "items": 0, "largest": 1}


def test_chinese_titles_keep_their_neighbours_and_texts_that_are_noise_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    noise = ["".join(rng.choice(letters, 12)) for _ in range(300)]
    for name, titles in (("chinese", chinese_titles(300)[0]), ("noise", noise)):
        tables.write(tmp_path / f"{name}.parquet", {"item_id": [f"i{row}" for row in range(300)], "title": titles})
        manifest = build_ids(tmp_path / f"{name}.parquet", tmp_path / name, levels=3, codes=16)
        first = manifest.metrics["neighbourhood"]["prefixes"][0]
        warned = "neighbours kept are near chance" in capsys.readouterr().err
        assert warned == (name == "noise")
        if name == "chinese":
            assert first["lift"] > 3
