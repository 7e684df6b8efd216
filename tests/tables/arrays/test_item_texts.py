"""Texts of items: one by one, and in the order of another list of items."""

from __future__ import annotations

from gti_cli.tables.arrays.item_texts import ItemTexts, texts_in_order
from gti_cli.tables.arrays.names import Names


def test_texts_by_item() -> None:
    texts = ItemTexts(Names.of(["a", "b"]), Names.of(["red", ""]))
    assert dict(texts) == {"a": "red", "b": ""}
    assert texts.get("c", "none") == "none" and "c" not in texts


def test_texts_in_the_order_of_a_catalogue() -> None:
    texts = ItemTexts(Names.of(["a", "b"]), Names.of(["red", "blue"]))
    for given in (texts, dict(texts)):
        assert list(texts_in_order(given, Names.of(["b", "x", "a"]))) == ["blue", "", "red"]
    assert texts_in_order(texts, Names.of(["a", "b"])) is texts.texts
