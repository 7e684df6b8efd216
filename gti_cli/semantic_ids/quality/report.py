"""Counts and quality metrics of a run of `gti build-ids`, and warnings about embeddings and IDs without meaning."""

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

# Of the way from chance to the attainable. Texts without a word in common reach 0.00 to 0.11 (more, the more of them
# are equal), catalogues with meaning 0.35 and more.
_NEAR_CHANCE = 0.125


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
    """Compute all quality metrics of the manifest, and warn where first codes say nothing about their items.

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
    _warn_near_chance(report["neighbourhood"])
    if CATEGORIES in items.column_names:
        report["purity"] = {CATEGORIES: prefixes.purity(tables.strings(items, CATEGORIES, ITEMS), after, seed)}
    return report


def _warn_near_chance(neighbourhood: dict[str, Any]) -> None:
    """Warn where neighbours share first codes hardly more often than any two items do.

    Args:
        neighbourhood: From `prefixes.neighbourhood_kept`.
    """
    if not neighbourhood["prefixes"]:
        return  # one item
    first = neighbourhood["prefixes"][0]
    kept, chance = first["recall"], first["by_chance"]
    room = first["attainable"] - chance
    # Without room the neighbours are all other items, or no two items share a first code: nothing can be said.
    if room > 1e-6 and kept - chance < _NEAR_CHANCE * room:
        console.warn(
            f"neighbours kept are near chance: {kept:.3f} of an item's nearest items share its first code, and "
            f"{chance:.3f} of all items do. Such semantic IDs say next to nothing about items: give texts that have "
            "words in common, or an --encoder that knows their language"
        )


def _titles(items: pa.Table) -> list[str]:
    """A line that describes each item to a person: its title, else its text, else its id."""
    texts, ids = tables.strings(items, "text", ITEMS), items.column("item_id").to_pylist()
    titles = tables.strings(items, TITLE, ITEMS) if TITLE in items.column_names else texts
    return [title or text or item for title, text, item in zip(titles, texts, ids, strict=True)]
