"""The section on Semantic IDs: items with their titles, examples of items that share a prefix, quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gti_cli import tables
from gti_cli.checkpoints.token_names import split_tokens
from gti_cli.errors import InputError
from gti_cli.geometry.sampling import evenly
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest

_TITLE = 90  # characters of a title
_FIRST_CODES, _SECOND_CODES, _ITEMS = 4, 2, 3  # examples: first codes, prefixes below each, items below each of these
_TRAITS = {"lsa": "words of the texts", "column": "the embedding column"}


@dataclass(frozen=True)
class PageCatalogue:
    """The items of a workspace.

    Attributes:
        ids: Their Semantic IDs.
        titles: Item id -> what a person calls the item.
    """

    ids: tables.SemanticIDs
    titles: Mapping[str, str]


@dataclass(frozen=True)
class Prefix:
    """Items that share the first codes of their Semantic IDs.

    Attributes:
        tokens: The shared codes, such as ``<a_12><b_3>``.
        items: The number of items that share them.
        examples: The rest of the Semantic ID, and the title, of some of these items.
        longer: Prefixes of one code more.
    """

    tokens: str
    items: int
    examples: Sequence[tuple[str, str]] = ()
    longer: Sequence[Prefix] = ()


def read_catalogue(space: Workspace) -> PageCatalogue:
    """Read the Semantic IDs of a workspace and the titles of their items.

    Raises:
        InputError: When one of the two tables is missing or damaged.
    """
    path = space.path("items.parquet")
    table = tables.read(path, ["item_id"])
    items = tables.ids(table, "item_id", path)
    columns = [tables.strings(table, name, path) for name in ("title", "text") if name in table.column_names]
    titles = {
        item: _shorten(next((text for text in texts if text), item))
        for item, *texts in zip(items, *columns, strict=True)
    }
    return PageCatalogue(tables.read_semantic_ids(space.path("semantic_ids.parquet")), titles)


def _shorten(text: str) -> str:
    """Return the first line of a text, cut where it is long."""
    line = text.strip().split("\n", 1)[0]
    return line if len(line) <= _TITLE else f"{line[: _TITLE - 1]}…"


def example_prefixes(catalogue: PageCatalogue) -> list[Prefix]:
    """Return some first codes, of frequent to rare ones, each with two-code prefixes that several items share.

    Empty where no two items share two codes, or an ID has one code.
    """
    codes = catalogue.ids.codes
    if codes.shape[1] < 2 or not len(codes):
        return []
    pairs, group, counts = np.unique(codes[:, :2], axis=0, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    shared = np.flatnonzero(counts > 1)
    sizes = {code: int((codes[:, 0] == code).sum()) for code in np.unique(pairs[shared, 0]).tolist()}
    by_size = sorted(sizes, key=lambda code: (-sizes[code], code))
    chosen = [by_size[place] for place in evenly(len(by_size), _FIRST_CODES).tolist()] if by_size else []
    prefixes = []
    for code in chosen:
        below = [number for number in shared.tolist() if pairs[number, 0] == code]
        below.sort(key=lambda number: (-counts[number], number))
        longer = [_two_codes(catalogue, np.flatnonzero(group == number).tolist()) for number in below[:_SECOND_CODES]]
        first = int(np.flatnonzero(codes[:, 0] == code)[0])
        prefixes.append(Prefix(split_tokens(catalogue.ids.tokens[first])[0], sizes[code], longer=longer))
    return prefixes


def _two_codes(catalogue: PageCatalogue, rows: Sequence[int]) -> Prefix:
    """Describe items that share two codes."""
    examples = []
    for row in rows[:_ITEMS]:
        item = catalogue.ids.item_ids[row]
        rest = "".join(split_tokens(catalogue.ids.tokens[row])[2:])
        examples.append((rest, catalogue.titles.get(item, item)))
    return Prefix("".join(split_tokens(catalogue.ids.tokens[rows[0]])[:2]), len(rows), examples)


def catalogue_facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Say in few facts what the Semantic IDs are and how good they are, as the manifest has it."""
    details, metrics = manifest.details, manifest.metrics
    before, after = metrics.get("collisions_before"), metrics.get("collisions_after")
    entries = [("Items", f"{manifest.counts.get('items', 0):,}")]
    if details.get("sizes"):
        entries.append(("Codes of the levels", " × ".join(f"{size:,}" for size in details["sizes"])))
    if details.get("encoder"):
        trait = _TRAITS.get(str(details["encoder"]))
        entries.append(("Texts to vectors", f"{details['encoder']}{f' ({trait})' if trait else ''}"))
    if details.get("quantizer"):
        entries.append(("Vectors to codes", str(details["quantizer"])))
    if metrics.get("explained_variance") is not None:
        entries.append(("Variance that the codes explain", f"{100 * metrics['explained_variance']:.0f} %"))
    if before and after:
        entries.append(
            ("Items that share an ID", f"{after['items']:,} (before {details['collisions']}: {before['items']:,})")
        )
    return entries


def quality_rows(manifest: Manifest) -> list[dict[str, float | None]]:
    """Return the quality of each level, and of the prefix that ends with it; None for what was not measured."""
    metrics = manifest.metrics
    neighbours = {entry["depth"]: entry for entry in metrics.get("neighbourhood", {}).get("prefixes", [])}
    purity = {entry["depth"]: entry for entry in next(iter(metrics.get("purity", {}).values()), [])}
    return [
        {
            "level": entry["level"],
            "used": entry["used"],
            "codes": entry["codes"],
            "perplexity": entry["perplexity"],
            "explained": entry.get("explained_variance"),
            "neighbours": neighbours.get(entry["level"] + 1, {}).get("recall"),
            "neighbours_chance": neighbours.get(entry["level"] + 1, {}).get("by_chance"),
            "purity": purity.get(entry["level"] + 1, {}).get("purity"),
            "purity_chance": purity.get(entry["level"] + 1, {}).get("shuffled"),
        }
        for entry in metrics.get("levels", [])
    ]


def catalogue_or_reason(space: Workspace) -> tuple[PageCatalogue | None, str]:
    """Read the catalogue; where it cannot be read, say why."""
    try:
        return read_catalogue(space), ""
    except InputError as error:
        return None, str(error)
