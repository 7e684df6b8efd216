"""Positions of the batched passes, against the model's own forward on one whole sequence at a time."""

from __future__ import annotations

import pytest
import torch

from gti_cli.grounding.nll.corpus import divide_examples
from gti_cli.grounding.nll.objective import GroundingModel, KeptContexts
from gti_cli.grounding.regression.collect import batches_by_length, collect
from gti_cli.grounding.regression.kept_states import StateStore
from gti_cli.grounding.trainable_rows import NewRows
from tests.support.grounding import NEW_IDS, OLD, PAD, model_of
from tests.support.regression import to_tokens
from tests.support.two_devices import DEVICE, TwoDevices

STORE = StateStore(None, torch.device("cpu"))


@pytest.mark.parametrize(
    ("kind", "tied", "whole"),
    [
        ("qwen3", True, False),
        ("qwen3", True, True),
        ("phi", False, False),
        ("gemma2", True, False),
        ("cohere", True, True),
    ],
)
def test_every_number_is_the_models_own(kind: str, tied: bool, whole: bool) -> None:
    model = model_of(kind, tied)
    examples, templates = to_tokens(8)
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, [0] * len(examples), set(NEW_IDS.tolist()), whole=whole)
    batches = batches_by_length(corpus, range(len(examples)), 3)
    assert [len(batch) for batch in batches] == [3, 3, 2]
    order = [number for batch in batches for number in batch]
    contexts = KeptContexts(2**20)
    with rows.attached():
        trained = GroundingModel(model, rows, corpus.prefixes)
        rule = trained.rule
        assert rule is not None
        (alone,) = collect(trained, corpus, batches, [0], rule, PAD, STORE)
        # The first two places at once, then one at a time behind what was kept of the prompts.
        found = collect(trained, corpus, batches, [0, 1], rule, PAD, STORE, "", contexts)
        for place in (2, 3):
            found += collect(trained, corpus, batches, [place], rule, PAD, STORE, "", contexts)
    torch.testing.assert_close(alone.states[:], found[0].states[:], rtol=0, atol=1e-4)
    lengths = [corpus.computed_lengths()[number] for number in order]
    assert lengths == sorted(lengths)
    head = model.get_output_embeddings()
    for place, positions in enumerate(found):
        for number, state, old, target, old_target in zip(
            order, positions.states[:], positions.old, positions.targets, positions.old_target_logits, strict=True
        ):
            sequence = torch.tensor([examples[number].prompt + examples[number].answer[:place]])
            with torch.no_grad():
                logits = model(sequence).logits[0, -1]
                torch.testing.assert_close(rule(head(state)), logits, rtol=0, atol=1e-4)
            token = examples[number].answer[place]
            assert float(old) == pytest.approx(float(logits[:OLD].logsumexp(0)), abs=1e-4)
            assert int(target) == (token - OLD if token >= OLD else -1)
            assert float(old_target) == pytest.approx(0 if token >= OLD else float(logits[token]), abs=1e-4)


def test_short_answers_have_no_later_place() -> None:
    model = model_of("qwen3")
    examples, templates = to_tokens(6)
    short = type(examples[0])(examples[0].prompt, examples[0].answer[:2])
    examples = [short, *examples[1:]]
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, [0] * 6, set(NEW_IDS.tolist()))
    with rows.attached():
        trained = GroundingModel(model, rows, corpus.prefixes).train()
        assert trained.rule is not None
        done: list[int] = []
        batches = batches_by_length(corpus, range(6), 4)
        of_places = collect(trained, corpus, batches, [1, 2, 4], trained.rule, PAD, STORE, advance=done.append)
        (nothing,) = collect(trained, corpus, [], [1], trained.rule, PAD, STORE)  # a process without examples
    assert [len(positions) for positions in of_places] == [6, 5, 0] and done == [4, 2]
    for positions in (*of_places, nothing):
        assert len(positions.states) == len(positions.old) == len(positions.targets) == len(positions.old_target_logits)
        assert (positions.old.dtype, positions.targets.dtype) == (torch.float64, torch.int64)
    assert trained.training  # the mode before the pass


def test_groups_of_a_batch_are_computed_apart_on_the_models_device() -> None:
    """The answers of the first group are too short for the place, so that it has no position."""
    model = model_of("qwen3")
    examples, templates = to_tokens(6)
    examples = [type(e)(e.prompt, e.answer[: 2 + 2 * (n % 2)]) for n, e in enumerate(examples)]
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, [0, 1] * 3, set(NEW_IDS.tolist()))
    with rows.attached():
        trained = GroundingModel(model, rows, corpus.prefixes)
        rule = trained.rule
        assert rule is not None
        expected = [collect(trained, corpus, [[number]], [1, 2], rule, PAD, STORE) for number in (0, 2, 4, 1, 3, 5)]
        with TwoDevices():
            found = collect(trained, corpus, [range(6)], [1, 2], rule, PAD, StateStore(None, DEVICE))
            (later,) = collect(trained, corpus, [range(6)], [2], rule, PAD, StateStore(None, DEVICE))
            for positions in (*found, later):
                assert all(map(TwoDevices.is_on_device, (positions.old, positions.targets)))
    for place in (0, 1):
        for name in ("old", "targets", "old_target_logits"):
            parts = torch.cat([getattr(parts[place], name) for parts in expected])
            torch.testing.assert_close(getattr(found[place], name), parts, rtol=0, atol=1e-4)
    assert len(found[1]) == len(later) == 3 and torch.equal(later.targets, found[1].targets)


def test_what_is_kept_of_prompts_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("qwen3")
    examples, templates = to_tokens(10)
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, [0] * 10, set(NEW_IDS.tolist()))
    batches = batches_by_length(corpus, range(10), 5)
    calls: list[int] = []
    original = GroundingModel._compute_context
    monkeypatch.setattr(GroundingModel, "_compute_context", lambda *given: calls.append(1) or original(*given))
    with rows.attached():
        trained = GroundingModel(model, rows, corpus.prefixes)
        assert trained.rule is not None
        states, counts = [], []
        for contexts in (KeptContexts(2**20), KeptContexts(0)):
            for places in ([0, 1, 2, 3], [2]):
                calls.clear()
                parts = collect(trained, corpus, batches, places, trained.rule, PAD, STORE, "", contexts)
                counts.append(len(calls))
            states.append(parts[0].states[:])
    assert counts == [2, 0, 2, 2]
    assert torch.equal(*states)
