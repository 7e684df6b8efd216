from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.semantic_ids import artifact
from gti_cli.semantic_ids.build import build_ids
from gti_cli.semantic_ids.options import MAX_CODES, EncoderOptions, IdsOptions, KMeansOptions, RQVAEOptions
from gti_cli.semantic_ids.plan import check_enough, make_plan, parse_sizes
from tests.support.semantic_ids import make_items


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rqvae": RQVAEOptions(epochs=9, latent=4)}, "--latent, --epochs would have no effect.*--quantizer rq-vae"),
        ({"quantizer": "rq-vae", "kmeans": KMeansOptions(beam=4)}, "--beam would have no effect.*rq-kmeans"),
        ({"text_model": EncoderOptions(prompt="item: ")}, "--prompt would have no effect.*an --encoder"),
    ],
)
def test_options_without_effect_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_ids(make_items(tmp_path), tmp_path / "ws", levels=2, codes=16, **options)
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"levels": 2, "codes": 100}, "the number of items, 80, is below that of the codes of level 0, 100"),
        ({"levels": 2, "codes": "8,100"}, "80, is below that of the codes of level 1, 100"),
        ({"levels": 2, "codes": 8}, "80 items cannot all have their own of 8 x 8 = 64 tuples"),
        ({"codes": "a"}, "--codes 'a' must be whole numbers"),
        ({"codes": "0"}, "must be whole numbers"),
        ({"codes": "8,8", "levels": 3}, "--codes lists 2 levels, --levels says 3"),
        ({"levels": 0}, "--levels must be from 1 to 26"),
        ({"levels": 26, "codes": 2, "collisions": "suffix"}, "27 levels are more than the 26 letters"),
        ({"quantizer": "pq"}, "unknown --quantizer 'pq'"),
        ({"collisions": "mend"}, "unknown --collisions 'mend'"),
        ({"token_style": "tiger"}, "unknown --token-style 'tiger'"),
        ({"text_columns": ["colour"]}, "column 'colour' is missing"),
        ({"encoder": "column"}, "no 'embedding' column"),
    ],
)
def test_refused_before_anything_is_written(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    items = make_items(tmp_path)
    with pytest.raises(InputError, match=words):
        build_ids(items, tmp_path / "ws", **options)
    assert not (tmp_path / "ws").exists()


@given(sizes=st.lists(st.integers(1, MAX_CODES), min_size=2, max_size=9))
def test_sizes_as_a_list_and_as_a_string(sizes: list[int]) -> None:
    text = ",".join(map(str, sizes))
    assert parse_sizes(sizes, None) == parse_sizes(text, len(sizes)) == parse_sizes(tuple(sizes), None) == sizes


def test_one_size_for_all_levels() -> None:
    assert parse_sizes(None, None) == [256] * 4
    assert parse_sizes(None, 2) == [256] * 2
    assert parse_sizes("8", 3) == parse_sizes(8, 3) == parse_sizes([8], 3) == [8, 8, 8]
    for bad in (MAX_CODES + 1, "", "8,", [], -1):
        with pytest.raises(InputError, match="must be whole numbers from 1 to"):
            parse_sizes(bad, None)


def test_as_many_vectors_as_codes_are_enough() -> None:
    check_enough(16, [4, 16], "items")
    with pytest.raises(InputError, match=r"items, 15, is below that of the codes of level 1, 16.*--codes 3 or so"):
        check_enough(15, [4, 16], "items")


def test_defaults_are_settled_and_options_name_what_affects_the_result(tmp_path: Path) -> None:
    plan = make_plan(make_items(tmp_path), IdsOptions(levels=2, codes=16))
    assert (plan.encoder, plan.quantizer, plan.policy, plan.style) == ("lsa", "rq-kmeans", "next-best", "lc-rec")
    options = plan.options()
    assert options["codes"] == [16, 16] and options["text_columns"] == ["title", "brand"]
    assert "kmeans" in options and "rqvae" not in options and "text_model" not in options
    assert plan.outputs() == [*artifact.FILES, artifact.REUSE]


def test_outputs_and_beam_follow_quantizer_and_encoder(tmp_path: Path) -> None:
    embeddings = np.eye(80, 4).tolist()
    items = make_items(tmp_path, embedding=embeddings)
    kmeans = make_plan(items, IdsOptions(levels=2, codes=16), kmeans=KMeansOptions(beam=3))
    assert kmeans.encoder == "column" and kmeans.outputs() == list(artifact.FILES) and kmeans.beam == 3
    rqvae = make_plan(items, IdsOptions(levels=2, codes=16, quantizer="rq-vae"), rqvae=RQVAEOptions(epochs=2))
    assert rqvae.outputs() == [*artifact.FILES, artifact.HISTORY, artifact.REUSE] and rqvae.beam == 1
    assert rqvae.options()["rqvae"]["epochs"] == 2 and "kmeans" not in rqvae.options()
    model = make_plan(items, IdsOptions(levels=2, codes=16, encoder="some/model"))
    assert model.outputs() == list(artifact.FILES) and model.options()["text_model"]["pooling"] == "auto"


def test_an_imported_index_brings_its_own_sizes(tmp_path: Path) -> None:
    index = {f"i{row}": [f"<a_{row}>", "<b_0>"] for row in range(6)}
    (tmp_path / "index.json").write_text(json.dumps(index))
    items = make_items(tmp_path, n=6)
    plan = make_plan(items, IdsOptions(import_index=tmp_path / "index.json"))
    assert (plan.quantizer, plan.sizes, plan.policy) == ("import", [6, 1], "allow")
    assert make_plan(items, IdsOptions(import_index=tmp_path / "index.json", codes="8,2")).sizes == [8, 2]
    with pytest.raises(InputError, match="--beam would have no effect"):
        make_plan(items, IdsOptions(import_index=tmp_path / "index.json"), kmeans=KMeansOptions(beam=4))
