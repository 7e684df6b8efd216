"""The tokenised examples of a run, and where each is divided: at the point where the gradient begins.

An input position before the first new token holds pretrained rows only, which are frozen. Its hidden states therefore
need no gradient. Each example is divided into three parts:

- the template prefix: the tokens with which all examples of one template begin. Its keys and values are computed once
  for the whole run.
- the context: the remaining tokens before the first new token. It is computed without autograd.
- the target span: all tokens from the first new token on. It alone is computed with autograd.

`nll.build_corpus` tokenises the pairs and divides them with `divide_examples`. `nll.batches` puts the divided examples
into batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gti_cli.prompts.examples import Example
from gti_cli.training.batches.stored_examples import example_lengths


@dataclass(frozen=True)
class Corpus:
    """N tokenised examples, and where each is divided.

    Attributes:
        examples: (N) prompts and answers, in memory or in a file.
        templates: (N) number of each example's template, from 0.
        groups: (N) number of each example's group. The examples of a batch that share a group are computed together;
            a group is a direction, within which target spans have similar lengths.
        prefixes: Token ids of each template's prefix, by template number.
        span_starts: (N) index of the first new token in each example's sequence (0 if nothing is divided).
    """

    examples: Sequence[Example]
    templates: list[int]
    groups: list[int]
    prefixes: list[list[int]]
    span_starts: list[int]

    def computed_lengths(self) -> list[int]:
        """(N) tokens of each example outside the template prefix: those that every step computes."""
        return [
            length - len(self.prefixes[template])
            for length, template in zip(example_lengths(self.examples), self.templates, strict=True)
        ]

    def columns(self) -> int:
        """Upper bound on a batch's columns: the three parts are padded separately, so their maxima add up."""
        lengths = [
            (len(self.prefixes[template]), start, length)
            for length, template, start in zip(
                example_lengths(self.examples), self.templates, self.span_starts, strict=True
            )
        ]
        prefix = max(prefix for prefix, _, _ in lengths)
        context = max(start - prefix for prefix, start, _ in lengths)
        span = max(length - start for _, start, length in lengths)
        return prefix + context + span


def divide_examples(
    examples: Sequence[Example],
    templates: Sequence[int],
    groups: Sequence[int],
    new_ids: set[int],
    *,
    whole: bool = False,
) -> Corpus:
    """Find each template's prefix and each example's first new token.

    Args:
        examples: N prompts and answers.
        templates: (N) template number of each example, from 0.
        groups: (N) group number of each example, see `Corpus`.
        new_ids: Token ids of the new tokens.
        whole: Divide nothing. All prefixes and contexts are empty, so that every position is computed with autograd.

    Returns:
        The examples in their order, with their divisions.

    Raises:
        ValueError: When an example has no new token, or begins with one (unless ``whole``).
    """
    count = max(templates) + 1
    if whole:
        return Corpus(examples, list(templates), list(groups), [[] for _ in range(count)], [0] * len(examples))
    span_starts = [_first_new_token(example, new_ids) for example in examples]
    prefixes: list[list[int] | None] = [None] * count
    for example, template, start in zip(examples, templates, span_starts, strict=True):
        # The last prompt position predicts the answer's first token, so its hidden state is needed in every step. Of a
        # prefix only keys and values are stored, so that position must stay outside it.
        candidate = example.prompt[: min(start, len(example.prompt) - 1)]
        shortest = prefixes[template]
        prefixes[template] = candidate if shortest is None else shortest[: _common_length(shortest, candidate)]
    return Corpus(examples, list(templates), list(groups), [prefix or [] for prefix in prefixes], span_starts)


def _first_new_token(example: Example, new_ids: set[int]) -> int:
    """Index of the first new token among the inputs; the last token is never an input."""
    sequence = example.prompt + example.answer
    start = next((place for place, token in enumerate(sequence[:-1]) if token in new_ids), 0)
    if start == 0:
        raise ValueError("an example must hold a new token, and must not begin with it")
    return start


def _common_length(a: list[int], b: list[int]) -> int:
    """Length of the longest common beginning."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
