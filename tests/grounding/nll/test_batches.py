"""Batches of divided examples: nothing of a sequence is lost, and the right positions predict."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.grounding.nll.batches import Collator
from gti_cli.grounding.nll.corpus import Corpus, divide_examples
from tests.support.grounding import NEW_IDS, PAD, examples_of

NEW = set(NEW_IDS.tolist())


def rebuilt(corpus: Corpus, group: dict[str, torch.Tensor], row: int) -> list[int]:
    """The inputs of an example, put together again from its three parts."""
    parts = [group[name][row][group[f"{name}_mask"][row].bool()].tolist() for name in ("context", "span")]
    return [*corpus.prefixes[int(group["templates"][row])], *parts[0], *parts[1]]


@given(st.integers(1, 12), st.integers(0, 500), st.booleans(), st.integers(0, 70), st.data())
def test_a_batch_holds_all_inputs_and_predicts_all_answers(
    count: int, seed: int, whole: bool, pad: int, data: Any
) -> None:
    examples, templates, groups = examples_of(count, seed)
    corpus = divide_examples(examples, templates, groups, NEW, whole=whole)
    chosen = data.draw(st.lists(st.integers(0, count - 1), min_size=1, unique=True))
    batch = Collator(corpus, pad)(chosen)["groups"]
    assert len(batch) == len({groups[n] for n in chosen})
    for key, group in zip(sorted({groups[n] for n in chosen}), batch, strict=True):
        places = [n for n in chosen if groups[n] == key]
        sequences = [examples[n].prompt + examples[n].answer for n in places]
        assert [rebuilt(corpus, group, row) for row in range(len(places))] == [s[:-1] for s in sequences]
        # Each predicting place, found again in its sequence, is followed there by its target.
        answers: list[list[int]] = [[] for _ in places]
        targets = iter(group["targets"].tolist())
        for part in ("context", "span"):
            width = group[part].shape[1]
            for place in group[f"predict_in_{part}"].tolist():
                row, column = divmod(place, width)
                begin = len(corpus.prefixes[templates[places[row]]])
                begin = begin if part == "context" else corpus.span_starts[places[row]]
                target = next(targets)
                assert sequences[row][begin + column + 1] == target
                answers[row].append(target)
        assert answers == [examples[n].answer for n in places]
        assert group["context"].shape[1] + group["span"].shape[1] <= corpus.columns()


def test_parts_are_as_wide_as_the_longest_and_masks_end_with_their_examples() -> None:
    examples, templates, groups = examples_of(30)
    corpus = divide_examples(examples, templates, groups, NEW)
    for key, group in enumerate(Collator(corpus, PAD)(range(30))["groups"]):
        numbers = [n for n in range(30) if groups[n] == key]
        context = [corpus.span_starts[n] - len(corpus.prefixes[templates[n]]) for n in numbers]
        span = [len(examples[n]) - 1 - corpus.span_starts[n] for n in numbers]
        for name, lengths in (("context", context), ("span", span)):
            assert group[f"{name}_mask"].tolist() == [[1] * n + [0] * (max(lengths) - n) for n in lengths]
            assert group[name].shape == group[f"{name}_mask"].shape
    # A stand-in in lockstep is the cheapest example of its group.
    lengths = corpus.computed_lengths()
    for key, group in enumerate(Collator(corpus, PAD, lockstep=True)([])["groups"]):
        assert all(tensor.dtype == torch.int64 for tensor in group.values())  # also those that are empty
        computed = int(group["context_mask"].sum() + group["span_mask"].sum())
        assert computed == min(lengths[n] for n in range(30) if groups[n] == key) - 1


def test_in_lockstep_every_batch_has_the_same_groups_and_stand_ins_predict_nothing() -> None:
    examples, templates, groups = examples_of(30)
    corpus = divide_examples(examples, templates, groups, NEW)
    collator = Collator(corpus, PAD, lockstep=True)
    first = next(n for n in range(30) if groups[n] == 0)
    for places in ([], [first]):
        batch = collator(places)["groups"]
        assert len(batch) == 2 and all(group["context"].shape[1] > 0 for group in batch)
        assert sum(len(group["targets"]) for group in batch) == sum(len(examples[n].answer) for n in places)
    assert Collator(corpus, PAD)([])["groups"] == []
