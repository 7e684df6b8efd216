"""Counts and quality metrics of a run of `gti build-ids`, and warnings about embeddings and IDs without meaning."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli import console, tables
from gti_cli.errors import list_some
from gti_cli.semantic_ids.artifact import ITEMS
from gti_cli.semantic_ids.catalogue import CATEGORIES, TITLE
from gti_cli.semantic_ids.quality import figures, prefixes
from gti_cli.semantic_ids.quantizers.quantizer import Quantizer
from gti_cli.tables import BlockTable
from gti_cli.tensors.vector_file import VectorRows

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]

# Of the way from chance to the attainable. Texts without a word in common reach 0.00 to 0.11 (more, the more of them
# are equal), catalogues with meaning 0.35 and more.
_NEAR_CHANCE = 0.125
_SHOWN = 3  # pairs of items in a warning
_AT_ONCE = 1 << 14  # texts that are Python objects at a time


def count_items(items: BlockTable, vectors: VectorRows) -> dict[str, int]:
    """Count a catalogue's items and warn of items with identical embeddings.

    Args:
        items: The artifact's items table with ``same_as``.
        vectors: (N, d).
    """
    import pyarrow.compute as pc

    alike = np.flatnonzero(pc.is_valid(items.resident.column("same_as")).to_numpy())
    if len(alike):
        shown = items.rows(["item_id", "same_as"], alike[:_SHOWN].tolist())
        pairs = [f"{pair['item_id']} = {pair['same_as']}" for pair in shown.to_pylist()]
        more = f" and {len(alike) - _SHOWN:,} more" if len(alike) > _SHOWN else ""
        console.warn(
            f"{len(alike):,} items have the same embedding as another ({list_some(pairs)}{more}); "
            f"all of them in {ITEMS}, column 'same_as'"
        )
    return {
        "items": len(items),
        "width": int(vectors.shape[1]),
        "repeated_texts": _repeated(items, "text"),
        "identical_embeddings": len(alike),
    }


def _repeated(items: BlockTable, column: str) -> int:
    """Count the texts that stand in an earlier row, too; empty ones are left out.

    Each text is known by a digest of 128 bits, so that memory holds 16 bytes for it. Two of a billion different texts
    have the same one with a probability below 1e-20.

    Args:
        items: The items table.
        column: Name of a column of texts.
    """
    digests = bytearray()
    for block in items.blocks([column], _AT_ONCE):
        for text in filter(None, tables.strings(block, column, ITEMS, strip=False)):
            digests += hashlib.blake2b(text.encode(), digest_size=16).digest()
    halves = np.frombuffer(digests, dtype=np.uint64).reshape(-1, 2)
    ordered = halves[np.lexsort(halves.T)]
    return int((ordered[1:] == ordered[:-1]).all(axis=1).sum())


def measure(
    items: BlockTable,
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
    before_resolving = figures.reconstruction(vectors, before, count, quantizer.decode, first=count)[0]
    report: dict[str, Any] = {
        "levels": figures.level_report(after, sizes, reconstructions),
        "collisions_before": figures.collision_figures(before),
        "collisions_after": figures.collision_figures(after),
        "explained_variance": reconstructions[-1]["explained_variance"],
        "explained_variance_before": before_resolving["explained_variance"],
        "neighbourhood": prefixes.neighbourhood_kept(vectors, after, seed),
        "fullest_prefixes": prefixes.fullest_prefixes(
            after, quantizer.to_code_space(vectors), partial(_titles, items), style
        ),
    }
    _warn_near_chance(report["neighbourhood"])
    if CATEGORIES in items.schema.names:
        report["purity"] = {CATEGORIES: prefixes.purity(_labels(items, CATEGORIES), after, seed)}
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


def _titles(items: BlockTable, rows: list[int]) -> list[str]:
    """A line that describes an item to a person, of some items: its title, else its text, else its id."""
    named = [name for name in (TITLE, "text", "item_id") if name in items.schema.names]
    shown = items.rows(named, rows)
    columns = [tables.strings(shown, name, ITEMS) for name in named]
    return [next(filter(None, texts), "") for texts in zip(*columns, strict=True)]


def _labels(items: BlockTable, column: str) -> npt.NDArray[np.int64]:
    """Number the different texts of a column, from 0; -1 for items with an empty or missing one.

    Args:
        items: The items table, N rows.
        column: Name of a column of texts, or of lists of texts.
    """
    numbers: dict[str, int] = {"": -1}
    labels = np.empty(len(items), dtype=np.int64)
    start = 0
    for block in items.blocks([column], _AT_ONCE):
        texts = tables.strings(block, column, ITEMS)
        labels[start : start + len(texts)] = [numbers.setdefault(text, len(numbers) - 1) for text in texts]
        start += len(texts)
    return labels
