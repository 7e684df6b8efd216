"""Division of examples, and batches: nothing of a sequence is lost, and the right positions predict."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.grounding.nll.batches import Collator, Corpus, divide_examples
from gti_cli.prompts.examples import Example
from tests.support.grounding import NEW_IDS, OLD, PAD, PREFIXES, examples_of

NEW = set(NEW_IDS.tolist())


def test_prefixes_are_shared_and_spans_begin_at_the_first_new_token() -> None:
    examples, templates, groups = examples_of(40)
    corpus = divide_examples(examples, templates, groups, NEW)
    for example, template, start in zip(examples, templates, corpus.span_starts, strict=True):
        sequence = example.prompt + example.answer
        assert sequence[: len(PREFIXES[template])] == PREFIXES[template][: len(corpus.prefixes[template])]
        assert sequence[start] >= OLD > max(sequence[:start])
    batch = Collator(corpus, PAD)(list(range(40)))["groups"]
    assert len(batch) == 2
    assert sum(len(group["targets"]) for group in batch) == sum(len(example.answer) for example in examples)
    # Text comes last in the second direction: only the template prefix is before the tokens.
    assert batch[1]["context"].shape[1] == 0


def test_an_example_needs_a_new_token_and_may_not_begin_with_it() -> None:
    for prompt in ([3, 4], [OLD, 3]):
        with pytest.raises(ValueError, match="must hold a new token"):
            divide_examples([Example(prompt, [5, 2])], [0], [0], NEW)


def test_the_last_prompt_position_stays_outside_the_prefix() -> None:
    """It predicts the answer's first token, so it must be computed in every batch."""
    examples = [Example([5, 6, 7], [OLD, 2]), Example([5, 6, 7], [OLD + 1, 2])]
    corpus = divide_examples(examples, [0, 0], [0, 0], NEW)
    assert corpus.prefixes == [[5, 6]] and corpus.span_starts == [3, 3]
    (group,) = Collator(corpus, PAD)([0, 1])["groups"]
    assert group["context"].tolist() == [[7], [7]]
    assert group["predict_in_context"].tolist() == [0, 1] and group["targets"][:2].tolist() == [OLD, OLD + 1]


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


def test_lengths_count_what_a_step_computes() -> None:
    examples, templates, groups = examples_of(20)
    corpus = divide_examples(examples, templates, groups, NEW)
    expected = [len(e.prompt + e.answer) - len(corpus.prefixes[t]) for e, t in zip(examples, templates, strict=True)]
    assert corpus.computed_lengths() == expected
    whole = divide_examples(examples, templates, groups, NEW, whole=True)
    assert whole.computed_lengths() == [len(example) for example in examples]


def test_in_step_every_batch_has_the_same_groups_and_stand_ins_predict_nothing() -> None:
    examples, templates, groups = examples_of(30)
    corpus = divide_examples(examples, templates, groups, NEW)
    collator = Collator(corpus, PAD, in_step=True)
    first = next(n for n in range(30) if groups[n] == 0)
    for places in ([], [first]):
        batch = collator(places)["groups"]
        assert len(batch) == 2 and all(group["context"].shape[1] > 0 for group in batch)
        assert sum(len(group["targets"]) for group in batch) == sum(len(examples[n].answer) for n in places)
    assert Collator(corpus, PAD)([])["groups"] == []
