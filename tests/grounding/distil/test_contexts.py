"""Reading phrases, and putting them into contexts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.grounding.distil.contexts import NEUTRAL, Phrases, Use, count_uses, cut_phrases, read_phrases, uses_of
from tests.support.distillation import NAMES, model_with_new_tokens


def written(tmp_path: Path, **columns: list[Any]) -> Path:
    path = tmp_path / "pairs.parquet"
    tables.write(path, columns)
    return path


def test_rows_contexts_and_counts(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        text=["red coat", "blue boots", "", "red coat"],
        tokens=["<x>", "<y>", "<y>", "<x>"],
        context=["A {} fits.", None, "{}", "One {}!"],
    )
    phrases = read_phrases(path, NAMES)
    assert phrases.texts == ["red coat", "blue boots", "red coat"] and phrases.tokens == ["<x>", "<y>", "<x>"]
    assert phrases.counts == {"rows": 4, "rows_without_text": 1, "rows_with_context": 2}
    uses = uses_of(phrases, {("blue boots", "<y>"): [("", " are warm")]})
    assert uses[0] == Use(0, "red coat", "<x>", "A ", " fits.", "given")
    assert uses[-1] == Use(0, "red coat", "<x>", "One ", "!", "given")
    assert (uses[0].with_phrase, uses[0].with_tokens) == ("A red coat fits.", "A <x> fits.")
    assert count_uses(uses) == {"contexts_given": 2, "contexts_template": len(NEUTRAL), "contexts_sampled": 1}
    assert {use.item for use in uses if use.tokens == "<y>"} == {1}


def test_the_same_use_counts_once() -> None:
    phrases = Phrases(["a", "a"], ["<x>", "<x>"], ["", ""], {})
    assert len(uses_of(phrases, {})) == len(NEUTRAL) == len(set(NEUTRAL))
    assert all(context.count("{}") == 1 for context in NEUTRAL)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a"], "tokens": ["<x>"], "context": ["none"]}, r"must hold \{\} once: 'none'"),
        ({"text": ["a"], "tokens": ["<x>"], "context": ["{} {}"]}, r"must hold \{\} once"),
        ({"item_id": ["1"], "title": ["a"]}, "needs the columns text"),
        ({"text": ["a"], "tokens": ["<z>"]}, "is not a sequence of the checkpoint's new tokens"),
        ({"text": [""], "tokens": ["<x>"]}, "no row has a text"),
    ],
)
def test_bad_tables(tmp_path: Path, columns: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_phrases(written(tmp_path, **columns), NAMES)


def test_long_phrases_and_contexts_are_cut_towards_the_phrase() -> None:
    _, tokenizer, old = model_with_new_tokens()
    words = "one two three four five six seven eight"
    phrases = Phrases([words, "red coat"], ["<x>", "<y>"], ["", f"{words} {{}} {words}"], {"rows": 2})
    cut, counts = cut_phrases(phrases, old, tokenizer, 6)
    assert counts == {"rows": 2, "texts_cut": 1, "contexts_cut": 1} == cut.counts
    assert words.startswith(cut.texts[0]) and old.encode(cut.texts)[0] == old.encode([words])[0][:6]
    before, _, behind = cut.contexts[1].partition("{}")
    assert f"{words} ".endswith(before) and f" {words}".startswith(behind)
    assert [len(ids) for ids in old.encode([before, behind])] == [6, 6]
    assert cut_phrases(phrases, old, tokenizer, 1000)[0].contexts == phrases.contexts
