"""Division of examples: shared prefixes, the first new token, and the lengths that a step computes."""

from __future__ import annotations

import pytest

from gti_cli.grounding.nll.batches import Collator
from gti_cli.grounding.nll.corpus import divide_examples
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


def test_lengths_count_what_a_step_computes() -> None:
    examples, templates, groups = examples_of(20)
    corpus = divide_examples(examples, templates, groups, NEW)
    expected = [len(e.prompt + e.answer) - len(corpus.prefixes[t]) for e, t in zip(examples, templates, strict=True)]
    assert corpus.computed_lengths() == expected
    whole = divide_examples(examples, templates, groups, NEW, whole=True)
    assert whole.computed_lengths() == [len(example) for example in examples]
    assert whole.span_starts == [0] * 20 and whole.prefixes == [[]] * len(PREFIXES)
    # A batch has at most the longest of each part.
    given = (examples, templates, corpus.span_starts)
    parts = [(len(corpus.prefixes[t]), start, len(e)) for e, t, start in zip(*given, strict=True)]
    widths = [max(p for p, _, _ in parts), max(s - p for p, s, _ in parts), max(n - s for _, s, n in parts)]
    assert corpus.columns() == sum(widths)


def test_a_prompt_that_is_the_beginning_of_another_one() -> None:
    examples = [Example([5, 6, 7, 8], [OLD, 2]), Example([5, 6], [OLD, 2]), Example([5, 6, 7], [OLD, 2])]
    assert divide_examples(examples, [0] * 3, [0] * 3, NEW).prefixes == [[5]]
