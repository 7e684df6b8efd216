from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gti_cli.semantic_ids.options import IdsOptions, KMeansOptions
from gti_cli.semantic_ids.plan import BuildPlan, make_plan
from gti_cli.semantic_ids.quantizers import kmeans, residual_codes
from gti_cli.semantic_ids.quantizers.quantizer import Quantizer, load_quantizer, train_quantizer
from tests.support.semantic_ids import TINY_RQVAE, clouds, make_items

VECTORS = clouds(80, 6)


def plan_for(folder: Path, **options: object) -> BuildPlan:
    items = make_items(folder, embedding=VECTORS.tolist())
    rqvae = TINY_RQVAE if options.get("quantizer") == "rq-vae" else None
    kmeans_options = KMeansOptions(sample=50) if rqvae is None and "import_index" not in options else None
    return make_plan(items, IdsOptions(**options), kmeans=kmeans_options, rqvae=rqvae)  # type: ignore[arg-type]


def encoded(quantizer: Quantizer) -> np.ndarray:
    return residual_codes.encode(quantizer.to_code_space(VECTORS), quantizer.codebooks)


def test_residual_kmeans_says_that_it_saw_a_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quantizer = train_quantizer(plan_for(tmp_path, levels=2, codes=12), VECTORS, 3, None, None, tmp_path)
    expected = kmeans.train(VECTORS, [12, 12], 3, KMeansOptions(sample=50))
    assert all((a == b).all() for a, b in zip(quantizer.codebooks, expected, strict=True))
    assert quantizer.metrics == {"trained_on": 50} and quantizer.state == {} and quantizer.history == []
    assert "a sample of 50 of 80 items" in capsys.readouterr().err
    assert quantizer.to_code_space(VECTORS) is VECTORS
    codes = encoded(quantizer)
    np.testing.assert_array_equal(quantizer.decode(codes, 1), expected[0][codes[:, 0]])


def test_imported_codes_get_mean_codebooks(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(3, size=(80, 2))
    index = {f"i{row}": [f"<a_{a}>", f"<b_{b}>"] for row, (a, b) in enumerate(codes.tolist())}
    (tmp_path / "index.json").write_text(json.dumps(index))
    plan = plan_for(tmp_path, import_index=tmp_path / "index.json")
    quantizer = train_quantizer(plan, VECTORS, 0, None, None, tmp_path)
    for code in range(3):
        np.testing.assert_allclose(quantizer.codebooks[0][code], VECTORS[codes[:, 0] == code].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("name", ["rq-kmeans", "rq-vae"])
def test_a_loaded_quantizer_is_the_trained_one(tmp_path: Path, name: str) -> None:
    import torch

    plan = plan_for(tmp_path, levels=2, codes=12, quantizer=name)
    trained = train_quantizer(plan, VECTORS, 0, torch.device("cpu"), torch.float32, tmp_path)
    options = json.loads(json.dumps(plan.options()))  # as a manifest holds them: lists, no tuples
    loaded = load_quantizer(name, trained.codebooks, trained.state, options)
    codes = encoded(trained)
    np.testing.assert_array_equal(encoded(loaded), codes)
    np.testing.assert_array_equal(loaded.decode(codes, 2), trained.decode(codes, 2))
    if name == "rq-vae":
        assert trained.metrics["rqvae"]["epochs"] == len(trained.history) == TINY_RQVAE.epochs
