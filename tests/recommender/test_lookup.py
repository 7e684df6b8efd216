"""Titles, tokens and items, and what is similar."""

from __future__ import annotations

import pytest

from gti_cli.checkpoints.token_names import semantic_id
from gti_cli.errors import InputError
from gti_cli.recommender.lookup import ItemLookup
from gti_cli.recommender.recommender import Recommender
from gti_cli.tables import SemanticIDs
from tests.support.evaluation import World


def test_tokens_and_items_are_inverse(recommender: Recommender, small_world: World) -> None:
    for row, item in enumerate(small_world.item_ids):
        tokens = recommender.tokens(item)
        assert tokens == semantic_id(small_world.codes[row])
        same = (small_world.codes == small_world.codes[row]).all(1).nonzero()[0]
        assert recommender.items(tokens) == recommender.items(f" {tokens}!") == [f"i{other}" for other in same]
    assert recommender.items(recommender.tokens("i3")) == ["i3", "i7"]  # a collision
    assert recommender.items("<a_3><b_2><c_99>") == []
    for tokens in ("", "<a_1><b_2>"):
        with pytest.raises(InputError, match="is no semantic ID of 3 codes"):
            recommender.items(tokens)
    with pytest.raises(InputError, match="the catalogue does not have: 'x'"):
        recommender.tokens("x")


def test_similar_items_say_by_what(recommender: Recommender, small_world: World) -> None:
    assert recommender.similarity_source == "embeddings"
    found = recommender.similar("i3", 5)
    assert [item.rank for item in found] == [1, 2, 3, 4, 5] and "i3" not in {item.item_id for item in found}
    cosines = [item.similarity for item in found]
    assert None not in cosines and cosines == sorted(cosines, reverse=True)  # type: ignore[type-var]
    assert found[0].title == f"Dress number {found[0].item_id[1:]}"
    catalogue = SemanticIDs(small_world.item_ids, small_world.codes, [semantic_id(c) for c in small_world.codes])
    by_codes = ItemLookup(catalogue, {}, None)
    assert by_codes.similarity_source == "semantic IDs"
    first = by_codes.similar("i3", 1)[0]
    assert (first.item_id, first.similarity, first.shared_levels, first.title) == ("i7", None, 3, "")
    with pytest.raises(InputError, match="'x'"):
        recommender.similar("x")
