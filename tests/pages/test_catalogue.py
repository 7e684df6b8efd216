"""Semantic IDs on a page: examples of items that share codes, and quality."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gti_cli.pages.catalogue import (
    PageCatalogue,
    catalogue_facts,
    catalogue_or_reason,
    example_prefixes,
    quality_rows,
    read_catalogue,
)
from gti_cli.tables import SemanticIDs
from gti_cli.workspace import Workspace
from tests.support.pages import CODES, TITLES, add_ids


def test_items_that_share_two_codes_from_frequent_to_rare_first_codes(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    manifest = add_ids(space)
    catalogue = read_catalogue(space)
    first, second = example_prefixes(catalogue)  # nothing shares two codes below <a_2>
    assert (first.tokens, first.items, second.tokens, second.items) == ("<a_0>", 4, "<a_1>", 3)
    assert [(prefix.tokens, prefix.items) for prefix in first.longer] == [("<a_0><b_0>", 2), ("<a_0><b_1>", 2)]
    assert first.longer[0].examples == [("<c_0>", TITLES[0]), ("<c_1>", TITLES[1])]
    assert second.longer[0].examples[0] == ("<c_0>", "Hat")  # one line of the title
    assert dict(catalogue_facts(manifest))["Items that share an ID"] == "0 (before next-best: 2)"
    assert dict(catalogue_facts(manifest))["Codes of the levels"] == "3 × 2 × 3"
    level, deeper, _ = quality_rows(manifest)
    assert (level["neighbours"], level["neighbours_chance"], level["purity"], level["purity_chance"]) == (
        0.25,
        0.125,
        0.75,
        0.5,
    )
    assert deeper["neighbours"] is None and deeper["used"] == 2


def test_nothing_is_shared() -> None:
    for codes in ([[0], [1]], [[0, 0], [0, 1]], np.zeros((0, 2))):
        array = np.asarray(codes, dtype=np.int32)
        tokens = ["<a_0><b_0>"] * len(array)
        assert example_prefixes(PageCatalogue(SemanticIDs(tokens, array, tokens), {})) == []


def test_a_catalogue_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    catalogue, reason = catalogue_or_reason(Workspace(tmp_path))
    assert catalogue is None and "items.parquet" in reason
    add_ids(Workspace(tmp_path))
    catalogue, reason = catalogue_or_reason(Workspace(tmp_path))
    assert catalogue is not None and len(catalogue.titles) == len(CODES) and reason == ""
