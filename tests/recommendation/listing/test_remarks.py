"""What is said about lists: counted over all pieces, and nothing where there is nothing to say."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gti_cli.decoding.ranked_items import RankedItems
from gti_cli.recommendation.listing.remarks import Remarks
from gti_cli.recommendation.requests import RecommendationRequests, RecommendOptions
from gti_cli.recommender.loaded_model import Prompts
from gti_cli.recommender.search import FoundLists

REQUESTS = RecommendationRequests({name: ["i1"] for name in "abcd"}, None)


def said(capsys: pytest.CaptureFixture[str], *found: FoundLists, **options: Any) -> str:
    remarks = Remarks(RecommendOptions(**options), REQUESTS)
    for number, lists in enumerate(found):
        remarks.prompts(Prompts([[1]] * len(lists.lists), cut=[number] * len(lists.lists)))
        remarks.lists(lists)
    remarks.say(20)
    return re.sub(r"\s+", " ", capsys.readouterr().err)


def lists(*lengths: int, proven: bool, is_exact: bool, missed: int = 0) -> FoundLists:
    ranked = [RankedItems(list(range(length)), [0.0] * length) for length in lengths]
    return FoundLists(ranked, [proven] * len(lengths), is_exact, missed)


def test_counts_are_those_of_all_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    pieces = [lists(3, 2, proven=False, is_exact=False), lists(1, 3, proven=False, is_exact=False)]
    text = said(capsys, *pieces, k=3, search="beam")
    assert "2 items lie further back than the 20" in text
    assert "may be missing for 4 of 4 users, since a beam drops prefixes" in text
    assert "2 of 4 users have fewer than 3 items left" in text


def test_nothing_to_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, lists(3, 3, 3, 3, proven=True, is_exact=True), k=3) == ""


def test_exact_search_says_what_the_beam_missed(capsys: pytest.CaptureFixture[str]) -> None:
    pieces = [lists(3, proven=True, is_exact=True, missed=2), lists(3, proven=True, is_exact=True, missed=1)]
    assert "the beam alone would have missed 3 semantic IDs" in said(capsys, *pieces, k=3, search="exact")
