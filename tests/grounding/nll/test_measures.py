"""Losses, accuracies and retrieval of held-out pairs, against plain computations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gti_cli.geometry.sampling import draw_at_most
from gti_cli.grounding.ground import ground
from gti_cli.grounding.nll import measures as module
from gti_cli.grounding.nll.measures import PairMeasures, pair_measures
from gti_cli.grounding.nll.task import SplitPairs, split_pairs
from gti_cli.grounding.row_figures import comparable_vectors, matrix_figures
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.pair_prompts import TO_TEXT, TO_TOKENS
from tests.support.grounding import held_out_by_hand, job_of, loaded
from tests.support.two_devices import DEVICE, TwoDevices

STEPS = {
    "max_steps": 24,
    "batch_size": 8,
    "learning_rate": 0.02,
    "device": "cpu",
    "held_out": 0.2,
    "directions": "both",
}


def test_figures_before_and_after_are_those_of_plain_computations(make_world: Any) -> None:
    world = make_world()
    manifest = ground(world.workspace, **STEPS)
    assert manifest.counts["held_out_examples_to_tokens"] == manifest.counts["held_out_pairs"] == 7
    for checkpoint, suffix in (("extended", "_before"), ("grounded", "")):
        for name, value in held_out_by_hand(world, checkpoint).items():
            assert manifest.metrics[name + suffix] == pytest.approx(value, abs=1e-4), name


class Prepared:
    """The measurements of a world's checkpoint, and what they were made of."""

    def __init__(
        self, world: Any, like: Prepared | None = None, adapters: Any = None, held_out: Any = None, **changes: Any
    ) -> None:
        names = ("directions", "retrieval_sample", "held_out_sample")
        options = {key: changes.pop(key) for key in names if key in changes}
        self.job = replace(job_of(world, held_out=0.2, **options), **changes)
        self.run: Any = SimpleNamespace(counts={}, measured={}, work=Path("not-needed"))
        self.model, self.tokenizer = (like.model, like.tokenizer) if like else loaded(world)
        pairs: SplitPairs = split_pairs(self.job, self.run, self.tokenizer)
        self.held_out = pairs.held_out if held_out is None else held_out
        self.run.counts.clear()
        self.rows = NewRows(self.model, torch.tensor(world.tokens.ids))
        with self.rows.attached():
            self.measures: PairMeasures = pair_measures(
                self.job, self.run, self.model, self.rows, self.tokenizer, self.held_out, adapters
            )


def test_losses_and_figures_without_any_training(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world()
    given = Prepared(world, retrieval_sample=3)
    losses, counts = given.measures.losses, given.run.counts
    assert losses is not None and any(losses.corpus.span_starts)
    assert counts == {"held_out_examples_to_tokens": 7, "held_out_examples_to_text": 7, "retrieval_pairs": 3}
    with given.rows.attached():
        losses.trained.train()
        found = losses.measure()
        point = given.measures.curve_figures()
    assert not losses.trained.training
    expected = held_out_by_hand(world, "extended")
    tokens = dict.fromkeys(("loss_to_tokens", "loss_to_text"), 0)
    for example, group in zip(losses.corpus.examples, losses.corpus.groups, strict=True):
        tokens["loss_to_text" if group else "loss_to_tokens"] += len(example.answer)
    expected["held_out_loss"] = sum(expected[name] * count for name, count in tokens.items()) / sum(tokens.values())
    assert found == pytest.approx(expected, abs=1e-4)
    job = given.job
    assert job.codebooks is not None and given.measures.examples == 14
    vectors, among = comparable_vectors(job.codebooks, job.new_tokens), job.new_tokens.codes_or_all()
    assert point == {**found, **matrix_figures(given.rows.matrices(), vectors, job.seed, among)}
    assert {"rsa_pearson", "effective_rank"} <= point.keys()
    asked: list[Any] = []
    monkeypatch.setattr(module, "matrix_figures", lambda *more: asked.append(more) or {})
    with given.rows.attached():
        given.measures.curve_figures()
    assert asked[0][2] == job.seed and asked[0][3].tolist() == among.tolist()
    # Some of the held-out items are looked for, with what the run has.
    asked.clear()
    monkeypatch.setattr(module, "retrieval", lambda *more: asked.append(more) or {"retrieval@1": 0.5})
    searched = given.measures.searched
    assert given.measures.retrieval_figures() == {"retrieval@1": 0.5} and len(set(searched) & set(given.held_out)) == 3
    assert asked == [(given.model, given.tokenizer, job.item_index, searched, job.templates)]


def test_accuracies_count_the_codes_of_each_level(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions made up: some right, some wrong, beside old tokens below and behind the new ones."""
    world = make_world()
    built: list[Any] = []
    build = module.build_corpus
    monkeypatch.setattr(module, "build_corpus", lambda *given: built.append(given) or build(*given))
    given = Prepared(world, held_out_sample=3, retrieval_sample=2)
    assert built[0][5] == Path("not-needed") / "held-out-pairs.arrow"
    losses, seed = given.measures.losses, given.job.seed
    assert losses is not None
    numbers = {"held_out_examples_to_tokens": 3, "held_out_examples_to_text": 3, "retrieval_pairs": 2}
    assert given.run.counts == numbers
    drawn = draw_at_most(list(range(7)), 3, seed)
    assert losses.numbers == {TO_TOKENS: drawn, TO_TEXT: [7 + number for number in drawn]}
    assert given.measures.searched == draw_at_most(given.held_out, 2, seed)
    # Made up, too: the last token is of another level than the one before it.
    tokens_of_levels = replace(given.job.new_tokens, levels=np.asarray([0, 0, 0, 1, 1, 1, 0], np.int32))
    job, pad = replace(given.job, new_tokens=tokens_of_levels), int(given.tokenizer.pad_token_id)
    losses = module.HeldOutLosses(job, losses.trained, losses.corpus, pad)
    ids, codes = job.new_tokens.ids.tolist(), job.new_tokens.levels.tolist()
    last = max(ids)
    for tokens in ([*ids, *ids[:5], 0, 3, last + 1, last + 2, last + 9], [ids[0], ids[0], 4, last + 1]):
        right = [number % 3 != 1 for number in range(len(tokens))]
        predicted = torch.tensor([token if fits else 1 for token, fits in zip(tokens, right, strict=True)])
        made = (torch.tensor(2.5 * len(tokens)), torch.tensor(tokens), predicted)
        monkeypatch.setattr(losses.trained, "predict", lambda groups, made=made: made)
        found = losses.measure()
        assert losses._batch_sums(drawn).dtype == torch.float64
        level_of = dict(zip(ids, codes, strict=True))
        expected = {"held_out_loss": 2.5, "loss_to_tokens": 2.5, "loss_to_text": 2.5}
        for level in (0, 1):
            of_level = [fits for token, fits in zip(tokens, right, strict=True) if level_of.get(token) == level]
            if of_level:  # a level without a code has no accuracy
                expected[f"accuracy_level_{level}"] = sum(of_level) / len(of_level)
        assert found == pytest.approx(expected)


def test_what_cannot_be_measured_is_left_out(make_world: Any) -> None:
    world = make_world()
    nothing = Prepared(world, held_out=[], codebooks=None)
    assert nothing.measures.losses is None and nothing.measures.examples == 0 and nothing.run.counts == {}
    assert nothing.measures.retrieval_figures() == {}
    with nothing.rows.attached():
        assert "held_out_loss" not in nothing.measures.curve_figures()
        assert "rsa_pearson" not in nothing.measures.curve_figures()
    to_text = Prepared(world, nothing, directions="to-text")
    assert to_text.measures.searched == [] and to_text.run.counts == {"held_out_examples_to_text": 7}
    no_items = Prepared(world, nothing, item_index=None)
    assert no_items.measures.searched == [] and no_items.measures.retrieval_figures() == {}
    other = replace(no_items.held_out[0], tokens=no_items.held_out[0].tokens * 2)  # which is no item
    pairs = no_items.held_out[1:3]
    assert Prepared(world, nothing, held_out=[other, *pairs]).measures.searched == pairs


def test_all_processes_measure_together_and_with_adapters_whole_examples(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, adapters = make_world(), torch.nn.Linear(1, 1)
    asked: list[bool] = []
    original = module.sum_over_batches
    monkeypatch.setattr(
        module, "sum_over_batches", lambda *some, **more: asked.append(more["lockstep"]) or original(*some, **more)
    )
    figures, given = [], None
    for sharding, trained in ((None, None), ("sharded", None), (None, adapters)):
        given = Prepared(world, given, adapters=trained, sharding=sharding)
        losses = given.measures.losses
        assert losses is not None and losses.trained.adapters is trained
        assert any(losses.corpus.span_starts) == (trained is None)
        # In lockstep a process without an example runs the model, too.
        assert bool(losses._collator([])["groups"]) == bool(sharding)
        with given.rows.attached():
            figures.append(losses.measure())
    assert asked == [False, False, True, True, False, False]
    assert figures[1] == pytest.approx(figures[0], abs=1e-5) and figures[2] == pytest.approx(figures[0], abs=1e-5)


def test_losses_are_computed_on_the_models_device(make_world: Any) -> None:
    given = Prepared(make_world())
    assert given.measures.losses is not None
    with given.rows.attached():
        expected = given.measures.losses.measure()
        with TwoDevices():
            corpus, pad = given.measures.losses.corpus, int(given.tokenizer.pad_token_id)
            job = replace(given.job, device=DEVICE)
            losses = module.HeldOutLosses(job, given.measures.losses.trained, corpus, pad)
            assert losses.numbers[TO_TOKENS] and losses.measure() == pytest.approx(expected, abs=1e-6)
