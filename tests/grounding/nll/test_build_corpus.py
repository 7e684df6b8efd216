"""Pairs as examples: their order and templates, and when they are divided."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gti_cli.errors import InputError
from gti_cli.grounding.nll import build_corpus as module
from gti_cli.grounding.nll.build_corpus import build_corpus
from gti_cli.grounding.read_pairs import make_pairs
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.pair_prompts import DEFAULT_TEMPLATES, TO_TEXT, TO_TOKENS, encode_pairs
from gti_cli.training.batches.stored_examples import ORDINARY
from tests.support.grounding import job_of, loaded

FILE = Path("not-needed.arrow")  # these examples fit into memory


def test_all_pairs_in_each_direction_and_a_template_for_each_form(make_world: Any) -> None:
    world = make_world()
    job = job_of(world)
    model, tokenizer = loaded(world)
    pairs, _ = make_pairs(job.table, tokenizer, 50)
    corpus = build_corpus(job, model, None, tokenizer, pairs, FILE)
    expected = [example for direction in (TO_TOKENS, TO_TEXT) for example in encode_pairs(tokenizer, pairs, direction)]
    assert corpus.examples == expected
    assert corpus.groups == [0] * len(pairs) + [1] * len(pairs)
    keys = [(group, pair.form) for group in (0, 1) for pair in pairs]
    assert len(set(zip(keys, corpus.templates, strict=True))) == len(set(keys)) == len(set(corpus.templates)) == 6
    assert not any(corpus.span_starts) and not any(corpus.prefixes)  # nothing is divided without rows
    one = build_corpus(job_of(world, directions="to-text"), model, None, tokenizer, pairs, FILE)
    assert one.examples == expected[len(pairs) :] and set(one.groups) == {1}


def test_examples_are_divided_where_the_model_computes_that(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world()
    job = job_of(world)
    model, tokenizer = loaded(world)
    pairs, _ = make_pairs(job.table, tokenizer, 50)
    rows = NewRows(model, torch.tensor(world.tokens.ids))
    with rows.attached():
        divided = build_corpus(job, model, rows, tokenizer, pairs, FILE)
        monkeypatch.setattr(module, "computes_divided", lambda *_: False)
        refused = build_corpus(job, model, rows, tokenizer, pairs, FILE)
    new = set(world.tokens.ids.tolist())
    for example, template, start in zip(divided.examples, divided.templates, divided.span_starts, strict=True):
        sequence = example.prompt + example.answer
        prefix = divided.prefixes[template]
        assert prefix and sequence[: len(prefix)] == prefix
        assert sequence[start] in new and not new & set(sequence[:start])
    assert refused.examples == divided.examples and not any(refused.span_starts)


def test_the_trial_is_asked_about_this_model_and_these_examples(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    job = replace(job_of(world), templates=replace(DEFAULT_TEMPLATES, system="Name items."))
    model, tokenizer = loaded(world)
    pairs, _ = make_pairs(job.table, tokenizer, 50)
    rows: Any = object()
    asked: dict[str, Any] = {}
    keep = module.keep_examples

    def kept(parts: Any, *more: Any) -> Any:
        asked["keep"] = more
        return keep(parts, *more)

    monkeypatch.setattr(module, "keep_examples", kept)
    monkeypatch.setattr(module, "has_plain_cache", lambda *given: asked.update(cache=given) or True)
    monkeypatch.setattr(module, "computes_divided", lambda *given: asked.update(trial=given) or True)
    divided = build_corpus(job, model, rows, tokenizer, pairs, FILE)
    whole = asked["trial"][3]
    assert asked["keep"] == (2 * len(pairs), FILE, ORDINARY)
    assert asked["cache"] == (model, divided.columns())
    assert asked["trial"] == (model, rows, divided, whole, int(tokenizer.pad_token_id))
    assert whole.examples == divided.examples and not any(whole.span_starts) and any(divided.span_starts)
    assert (whole.templates, whole.groups) == (divided.templates, divided.groups)
    expected = [
        example
        for direction in (TO_TOKENS, TO_TEXT)
        for example in encode_pairs(tokenizer, pairs, direction, job.templates)
    ]
    assert divided.examples == expected != [*encode_pairs(tokenizer, pairs, TO_TOKENS), *expected[len(pairs) :]]
    # Without a plain cache the trial is spared.
    asked.clear()
    monkeypatch.setattr(module, "has_plain_cache", lambda *_: False)
    assert not any(build_corpus(job, model, rows, tokenizer, pairs, FILE).span_starts) and "trial" not in asked


def test_an_example_longer_than_the_model_reads(make_world: Any) -> None:
    world = make_world()
    job = job_of(world)
    model, tokenizer = loaded(world)
    pairs, _ = make_pairs(job.table, tokenizer, 50)
    longest = max(len(example) for way in (TO_TOKENS, TO_TEXT) for example in encode_pairs(tokenizer, pairs, way))
    model.config.max_position_embeddings = longest
    build_corpus(job, model, None, tokenizer, pairs, FILE)
    model.config.max_position_embeddings = longest - 1
    with pytest.raises(InputError, match=rf"^{job.checkpoint.path}: .*\. Use a smaller --max-text-tokens\.$"):
        build_corpus(job, model, None, tokenizer, pairs, FILE)
