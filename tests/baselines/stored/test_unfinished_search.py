"""The file of a search that goes on: what is read is what was written, and a broken file is an empty search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gti_cli.baselines.sasrec import Network
from gti_cli.baselines.stored.unfinished_search import UnfinishedSearch
from tests.support.baselines import SASREC_ITEMS, SMALL

LARGER = replace(SMALL, hidden=32)


def two_networks(path: Path, *, keep: bool) -> tuple[UnfinishedSearch, list[Network]]:
    search, networks = UnfinishedSearch(path), [Network(SASREC_ITEMS, size) for size in (SMALL, LARGER)]
    assert search.best() == float("-inf")
    search.add(SMALL, 3, 0.25, networks[0], keep=False)  # the first one is kept in any case
    search.add(LARGER, 7, 0.125, networks[1], keep=keep)
    return search, networks


@pytest.mark.parametrize("keep", [False, True])
def test_what_is_read_is_what_was_written(tmp_path: Path, keep: bool) -> None:
    search, networks = two_networks(tmp_path / "a.unfinished", keep=keep)
    again = UnfinishedSearch.read(search.path, SASREC_ITEMS)
    assert again.epochs == search.epochs == {SMALL: 3, LARGER: 7}
    assert again.ndcg == search.ndcg == {SMALL: 0.25, LARGER: 0.125}
    assert again.best() == search.best() == (0.125 if keep else 0.25)
    assert again.network is not None and again.network.size == networks[keep].size
    for name, tensor in networks[keep].state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor)
    assert again.settings_tried({LARGER: 0.125}, "ndcg@10") == [
        {"hidden": 32, "dropout": 0.1, "blocks": 2, "length": 6, "epochs": 7, "ndcg@10": 0.125}
    ]


def test_a_missing_broken_or_foreign_file_is_an_empty_search(tmp_path: Path) -> None:
    search, _ = two_networks(tmp_path / "a.unfinished", keep=True)
    whole = search.path.read_bytes()
    for number, content in enumerate([None, b"", whole[:100], whole[:-1]]):
        path = tmp_path / f"{number}.unfinished"
        if content is not None:
            path.write_bytes(content)
        found = UnfinishedSearch.read(path, SASREC_ITEMS)
        assert (found.path, found.epochs, found.ndcg, found.network) == (path, {}, {}, None)
    assert UnfinishedSearch.read(search.path, SASREC_ITEMS + 1).network is None  # of another catalogue
