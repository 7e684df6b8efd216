"""What a run of `gti build-ids` tells: counts, quality, and warnings about what deserves a look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gti_cli import console, tables
from gti_cli.errors import examples
from gti_cli.semantic_ids.artifact import ITEMS
from gti_cli.semantic_ids.catalogue import CATEGORIES, TITLE
from gti_cli.semantic_ids.quality import prefixes as meaning
from gti_cli.semantic_ids.quality import quality
from gti_cli.semantic_ids.quantizers.quantise import Quantiser
from gti_cli.tensors.vector_file import VectorRows

if TYPE_CHECKING:
    import pyarrow as pa

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]


def count_items(items: pa.Table, vectors: VectorRows) -> dict[str, int]:
    """Counts of a catalogue; warns of items whose embedding another one has.

    Args:
        items: the artifact's items table with ``same_as``. vectors: (N, d).
    """
    import pyarrow.compute as pc

    alike = items.filter(pc.is_valid(items.column("same_as"))).select(["item_id", "same_as"])
    if len(alike):
        pairs = [f"{pair['item_id']} = {pair['same_as']}" for pair in alike.to_pylist()]
        console.warn(
            f"{len(pairs):,} items have the same embedding as another ({examples(pairs)}); "
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
    quantiser: Quantiser,
    before: Codes,
    after: Codes,
    sizes: list[int],
    seed: int,
    style: str,
) -> dict[str, Any]:
    """All quality figures.

    Args:
        items: the items table. vectors: (N, d). quantiser: whose codes they are.
        before: (N, L) as quantised. after: (N, L or L + 1) with collisions resolved. sizes: codes of each level of
            ``after``. seed: of samples and shuffles. style: of token names.
    """
    count = len(quantiser.codebooks)
    kept = quality.reconstruction(vectors, after[:, :count], count, quantiser.decode)
    raw = quality.reconstruction(vectors, before, count, quantiser.decode)[-1]
    report: dict[str, Any] = {
        "levels": quality.level_report(after, sizes, kept),
        "collisions_before": quality.collision_figures(before),
        "collisions_after": quality.collision_figures(after),
        "explained_variance": kept[-1]["explained_variance"],
        "explained_variance_before": raw["explained_variance"],
        "neighbourhood": meaning.neighbourhood_kept(vectors, after, seed),
        "fullest_prefixes": meaning.fullest_prefixes(after, quantiser.to_space(vectors), _titles(items), style),
    }
    if CATEGORIES in items.column_names:
        report["purity"] = {CATEGORIES: meaning.purity(tables.strings(items, CATEGORIES, ITEMS), after, seed)}
    return report


def _titles(items: pa.Table) -> list[str]:
    """A line for each item that tells a person what it is: its title, else its text, else its id."""
    texts, ids = tables.strings(items, "text", ITEMS), items.column("item_id").to_pylist()
    titles = tables.strings(items, TITLE, ITEMS) if TITLE in items.column_names else texts
    return [title or text or item for title, text, item in zip(titles, texts, ids, strict=True)]
