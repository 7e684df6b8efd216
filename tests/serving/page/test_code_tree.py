"""The tree of codes: counts, order, pages, examples."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from gti_cli.errors import InputError
from gti_cli.serving.page.code_tree import CodeTree

DRAW = random.Random(1)
IDS = [tuple(DRAW.choice([0, 0, 1, 2, 9, 10]) for _ in range(3)) for _ in range(80)]
TEXTS = ["".join(f"<{letter}_{code}>" for letter, code in zip("abc", codes, strict=True)) for codes in IDS]
TREE = CodeTree(TEXTS)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_branches_behind_any_codes_are_those_that_counting_gives(depth: int) -> None:
    for first in {codes[:depth] for codes in IDS}:
        inside = [codes for codes in IDS if codes[:depth] == first]
        counts = Counter(codes[depth] for codes in inside)
        prefix = "".join(f"<{letter}_{code}>" for letter, code in zip("abc", first, strict=False))
        found = TREE.behind(prefix, 0, 50, 2)
        assert (found.items, found.branches, found.rows) == (len(inside), len(counts), [])
        # The largest branch first; among equally large ones the lower code, and 9 is lower than 10.
        order = sorted(counts, key=lambda code: (-counts[code], code))
        assert [branch.code for branch in found.shown] == [f"<{'abc'[depth]}_{code}>" for code in order]
        for branch, code in zip(found.shown, order, strict=True):
            assert branch.items == counts[code] and len(branch.examples) == min(2, counts[code])
            assert all(IDS[row][: depth + 1] == (*first, code) for row in branch.examples)
        page = TREE.behind(prefix, 1, 2, 2)
        assert page.shown == found.shown[1:3] and page.items == found.items and page.branches == found.branches


def test_a_whole_id_has_all_of_its_items() -> None:
    most, count = Counter(TEXTS).most_common(1)[0]
    assert count > 2
    found = TREE.behind(most, 0, 50, 3)
    assert found.rows == [row for row, text in enumerate(TEXTS) if text == most]
    assert (found.items, found.branches, found.shown) == (count, 0, [])
    assert TREE.behind(most, 1, 1, 3).rows == found.rows[1:2]


@pytest.mark.parametrize("prefix", ["<a_77>", "<b_0>", "<a_0><a_0>", "a_0", "<a_0> ", f"{TEXTS[0]}<d_0>"])
def test_codes_that_no_item_has_are_refused(prefix: str) -> None:
    with pytest.raises(InputError, match="no item's Semantic ID begins with"):
        TREE.behind(prefix, 0, 50, 3)


def test_both_styles_of_tokens_and_an_empty_catalogue() -> None:
    tree = CodeTree(["<|sid_begin|><s_a_3><s_b_1><|sid_end|>", "<|sid_begin|><s_a_3><s_b_2><|sid_end|>"])
    assert tree.sizes == [1, 2] and tree.behind("<s_a_3>", 0, 9, 1).branches == 2
    assert CodeTree([]).sizes == []
