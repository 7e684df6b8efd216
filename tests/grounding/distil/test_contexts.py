"""Reading phrases and contexts, and snippets that the model writes itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gti_cli import tables
from gti_cli.errors import InputError
from gti_cli.grounding.distil import snippets as distil_snippets
from gti_cli.grounding.distil.batches import start_id
from gti_cli.grounding.distil.contexts import NEUTRAL, Phrases, Use, count_uses, cut_phrases, read_phrases, uses_of
from gti_cli.grounding.distil.old_tokenization import OldTokenization
from gti_cli.grounding.distil.snippets import SNIPPET_TOKENS, sample_snippets
from tests.support.models import make_model, make_tokenizer

NAMES = ["<x>", "<y>"]


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
        ({"text": ["a"], "tokens": ["<z>"]}, "is no sequence of the checkpoint's new tokens"),
        ({"text": [""], "tokens": ["<x>"]}, "no row has a text"),
    ],
)
def test_bad_tables(tmp_path: Path, columns: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_phrases(written(tmp_path, **columns), NAMES)


def test_long_phrases_and_contexts_are_cut_towards_the_phrase() -> None:
    _, tokenizer, old = world()
    words = "one two three four five six seven eight"
    phrases = Phrases([words, "red coat"], ["<x>", "<y>"], ["", f"{words} {{}} {words}"], {"rows": 2})
    cut, counts = cut_phrases(phrases, old, tokenizer, 6)
    assert counts == {"rows": 2, "texts_cut": 1, "contexts_cut": 1} == cut.counts
    assert words.startswith(cut.texts[0]) and old.encode(cut.texts)[0] == old.encode([words])[0][:6]
    before, _, behind = cut.contexts[1].partition("{}")
    assert f"{words} ".endswith(before) and f" {words}".startswith(behind)
    assert [len(ids) for ids in old.encode([before, behind])] == [6, 6]
    assert cut_phrases(phrases, old, tokenizer, 1000)[0].contexts == phrases.contexts


def world() -> tuple[Any, Any, OldTokenization]:
    """A model with two new rows that would take every draw, were they allowed."""
    from transformers import AddedToken

    tokenizer = make_tokenizer()
    base = len(tokenizer)
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=False) for name in NAMES])
    model = make_model("qwen3", len(tokenizer) + 3)  # and a padded vocabulary
    with torch.no_grad():
        model.get_input_embeddings().weight[base:] *= 100
    return model, tokenizer, OldTokenization(tokenizer, NAMES)


PHRASES = Phrases(
    ["red coat", "blue denim jacket", "boots", "boots"], ["<x>", "<y>", "<x>", "<x>"], ["", "", "", "A {}."], {}
)


def test_snippets_are_the_same_for_a_seed_and_hold_old_tokens_only() -> None:
    model, tokenizer, old = world()
    first = sample_snippets(model, tokenizer, old, PHRASES, 3, 0)
    assert list(first) == [("red coat", "<x>"), ("blue denim jacket", "<y>"), ("boots", "<x>")]
    assert first == sample_snippets(model, tokenizer, old, PHRASES, 3, 0)
    assert first != sample_snippets(model, tokenizer, old, PHRASES, 3, 1)
    for snippets in first.values():
        assert len({before for before, _ in snippets}) == 3
        for _, behind in snippets:
            assert not any(name in behind for name in [*NAMES, *tokenizer.all_special_tokens])


def test_snippets_are_drawn_from_the_models_own_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """A naive loop over whole sequences, with the same random numbers, draws the same; it stops at the end token."""
    monkeypatch.setattr(distil_snippets, "_BATCH", 1)
    model, tokenizer, old = world()
    phrases = Phrases(["red coat"], ["<x>"], [""], {})
    banned = [n for n in range(len(tokenizer) + 3) if n not in old.ids()]
    banned += [n for n in tokenizer.all_special_ids if n != tokenizer.eos_token_id]
    stopped = 0
    for seed in range(12):
        with torch.no_grad():  # a likelier end
            model.get_input_embeddings().weight[tokenizer.eos_token_id] *= 1.2
        (((_, behind),),) = sample_snippets(model, tokenizer, old, phrases, 1, seed).values()
        generator = torch.Generator().manual_seed(seed)
        ids = [start_id(tokenizer), *old.encode(["red coat"])[0]]
        prompt = len(ids)
        for _ in range(SNIPPET_TOKENS):
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1]
            logits[banned] = -torch.inf
            ids.append(int(torch.multinomial(logits.softmax(-1)[None], 1, generator=generator)))
        drawn = ids[prompt:]
        if tokenizer.eos_token_id in drawn:
            drawn = drawn[: drawn.index(tokenizer.eos_token_id)]
            stopped += 1
        assert behind == tokenizer.decode(drawn).rstrip("\ufffd")
    assert stopped > 0
