"""Counts and quality metrics of a run of `gti build-ids`, and a warning about identical embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console, tables
from gti_cli.errors import list_some
from gti_cli.semantic_ids.artifact import ITEMS
from gti_cli.semantic_ids.catalogue import CATEGORIES, TITLE
from gti_cli.semantic_ids.quality import figures, prefixes
from gti_cli.semantic_ids.quantizers.quantizer import Quantizer
from gti_cli.tensors.vector_file import VectorRows

if TYPE_CHECKING:
    import pyarrow as pa

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]


def count_items(items: pa.Table, vectors: VectorRows) -> dict[str, int]:
    """Count a catalogue's items and warn of items with identical embeddings.

    Args:
        items: The artifact's items table with ``same_as``.
        vectors: (N, d).
    """
    import pyarrow.compute as pc

    alike = items.filter(pc.is_valid(items.column("same_as"))).select(["item_id", "same_as"])
    if len(alike):
        pairs = [f"{pair['item_id']} = {pair['same_as']}" for pair in alike.to_pylist()]
        console.warn(
            f"{len(pairs):,} items have the same embedding as another ({list_some(pairs)}); "
            f"all of them in {ITEMS}, column 'same_as'"
        )
    texts = items.column("text").filter(pc.not_equal(items.column("text"), ""))
    return {
        "items": len(items),
        "width": int(vectors.shape[1]),
        "repeated_texts": len(texts) - pc.count_distinct(texts).as_py(),
        "identical_embeddings": len(alike),
    }


def measure(
    items: pa.Table,
    vectors: VectorRows,
    quantizer: Quantizer,
    before: Codes,
    after: Codes,
    sizes: list[int],
    seed: int,
    style: str,
) -> dict[str, Any]:
    """Compute all quality metrics of the manifest.

    Args:
        items: The items table.
        vectors: (N, d) embeddings.
        quantizer: The quantizer that made the codes.
        before: (N, L) codes as quantized.
        after: (N, L) codes with collisions resolved, or (N, L + 1) with a suffix level.
        sizes: The number of codes of each level of ``after``.
        seed: Seed of samples and shuffles.
        style: Style of the token names: ``lc-rec`` or ``onerec``.
    """
    count = len(quantizer.codebooks)
    reconstructions = figures.reconstruction(vectors, after[:, :count], count, quantizer.decode)
    before_resolving = figures.reconstruction(vectors, before, count, quantizer.decode)[-1]
    report: dict[str, Any] = {
        "levels": figures.level_report(after, sizes, reconstructions),
        "collisions_before": figures.collision_figures(before),
        "collisions_after": figures.collision_figures(after),
        "explained_variance": reconstructions[-1]["explained_variance"],
        "explained_variance_before": before_resolving["explained_variance"],
        "neighbourhood": prefixes.neighbourhood_kept(vectors, after, seed),
        "fullest_prefixes": prefixes.fullest_prefixes(after, quantizer.to_code_space(vectors), _titles(items), style),
    }
    if CATEGORIES in items.column_names:
        report["purity"] = {CATEGORIES: prefixes.purity(tables.strings(items, CATEGORIES, ITEMS), after, seed)}
    return report


def _titles(items: pa.Table) -> list[str]:
    """A line that describes each item to a person: its title, else its text, else its id."""
    texts, ids = tables.strings(items, "text", ITEMS), items.column("item_id").to_pylist()
    titles = tables.strings(items, TITLE, ITEMS) if TITLE in items.column_names else texts
    return [title or text or item for title, text, item in zip(titles, texts, ids, strict=True)]
