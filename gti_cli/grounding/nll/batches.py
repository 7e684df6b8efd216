"""Examples divided where the gradient begins, and put into batches.

Comes after `nll.corpus`, which tokenises the pairs. `nll.objective` computes the loss of the batches made here.

An input position before the first new token holds pretrained rows only, which are frozen. Its hidden states therefore
need no gradient. Each example is divided into three parts:

- the template prefix: the tokens with which all examples of one template begin. Its keys and values are computed once
  for the whole run.
- the context: the remaining tokens before the first new token. It is computed without autograd.
- the target span: all tokens from the first new token on. It alone is computed with autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gti_cli.prompts.examples import Example

GroupTensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Corpus:
    """N tokenised examples, and where each is divided.

    Attributes:
        examples: (N) prompts and answers.
        templates: (N) number of each example's template, from 0.
        groups: (N) number of each example's group. The examples of a batch that share a group are computed together;
            a group is a direction, within which target spans have similar lengths.
        prefixes: Token ids of each template's prefix, by template number.
        span_starts: (N) index of the first new token in each example's sequence (0 if nothing is divided).
    """

    examples: list[Example]
    templates: list[int]
    groups: list[int]
    prefixes: list[list[int]]
    span_starts: list[int]

    def computed_lengths(self) -> list[int]:
        """(N) tokens of each example outside the template prefix: those that every step computes."""
        return [
            len(example) - len(self.prefixes[template])
            for example, template in zip(self.examples, self.templates, strict=True)
        ]

    def columns(self) -> int:
        """Upper bound on a batch's columns: the three parts are padded separately, so their maxima add up."""
        lengths = [
            (len(self.prefixes[template]), start, len(example))
            for example, template, start in zip(self.examples, self.templates, self.span_starts, strict=True)
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
        return Corpus(list(examples), list(templates), list(groups), [[] for _ in range(count)], [0] * len(examples))
    span_starts = [_first_new_token(example, new_ids) for example in examples]
    prefixes: list[list[int] | None] = [None] * count
    for example, template, start in zip(examples, templates, span_starts, strict=True):
        # The last prompt position predicts the answer's first token, so its hidden state is needed in every step. Of a
        # prefix only keys and values are stored, so that position must stay outside it.
        candidate = example.prompt[: min(start, len(example.prompt) - 1)]
        shortest = prefixes[template]
        prefixes[template] = candidate if shortest is None else shortest[: _common_length(shortest, candidate)]
    return Corpus(list(examples), list(templates), list(groups), [prefix or [] for prefix in prefixes], span_starts)


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


class Collator:
    """Puts examples of a `Corpus` into a batch: one set of tensors for each group.

    Attributes:
        corpus: The examples.
        pad: Token id that fills rows up.
    """

    def __init__(self, corpus: Corpus, pad: int, *, in_step: bool = False) -> None:
        """Prepare for a corpus.

        Args:
            corpus: The examples.
            pad: Token id that fills rows up.
            in_step: Build every batch so that the model runs equally often for it, even for an empty one. Processes
                that each hold a part of the weights must run the model together, or they wait for each other forever.
                A group without an example gets a stand-in that does not count, and a context is present in every
                batch if the corpus has contexts at all.
        """
        self.corpus, self.pad, self._in_step = corpus, pad, in_step
        # Group number -> its shortest example, the cheapest stand-in. Empty unless ``in_step``.
        self._stand_in: dict[int, int] = {}
        if in_step:
            lengths = corpus.computed_lengths()
            for place in sorted(range(len(lengths)), key=lambda n: (lengths[n], n)):
                self._stand_in.setdefault(corpus.groups[place], place)

    def __call__(self, places: Sequence[int]) -> dict[str, list[GroupTensors]]:
        """Collate examples.

        Args:
            places: Numbers of the batch's examples in the corpus; may be empty.

        Returns:
            ``{"groups": [...]}``, in the order of group numbers. Each group holds the tensors of B examples, filled up
            on the right:

            - ``templates`` (B,) int64: template numbers, for which the model has the prefixes.
            - ``context`` and ``context_mask`` (B, P) int64.
            - ``span`` and ``span_mask`` (B, S) int64: the target spans without their last token, which is no input.
            - ``predict_in_context`` and ``predict_in_span`` int64: places in the flattened (B * P) and (B * S) whose
              logits predict an answer token.
            - ``targets`` (m,) int64: the answer tokens, first those predicted in contexts, then those in spans.
        """
        groups: dict[int, list[int]] = {key: [] for key in self._stand_in}
        for place in places:
            groups.setdefault(self.corpus.groups[place], []).append(place)
        return {"groups": [self._group(groups[key], key) for key in sorted(groups)]}

    def _group(self, counted: list[int], key: int) -> GroupTensors:
        """Tensors of the examples ``counted`` of group ``key``; of its stand-in if there are none."""
        corpus, places = self.corpus, counted or [self._stand_in[key]]
        parts = [(corpus.examples[n], len(corpus.prefixes[corpus.templates[n]]), corpus.span_starts[n]) for n in places]
        context_width = max(start - prefix for _, prefix, start in parts)
        # In step, a batch without context gets a column that is masked everywhere: the model runs once more for it.
        context_width = max(context_width, int(self._in_step and any(corpus.span_starts)))
        span_width = max(len(example) - 1 - start for example, _, start in parts)
        context = torch.full((len(parts), context_width), self.pad)
        span = torch.full((len(parts), span_width), self.pad)
        context_mask, span_mask = torch.zeros_like(context), torch.zeros_like(span)
        predict_in_context: list[int] = []
        predict_in_span: list[int] = []
        context_targets: list[int] = []
        span_targets: list[int] = []
        for row, (example, prefix, start) in enumerate(parts):
            sequence = example.prompt + example.answer
            context[row, : start - prefix] = torch.tensor(sequence[prefix:start], dtype=torch.int64)
            context_mask[row, : start - prefix] = 1
            span[row, : len(sequence) - 1 - start] = torch.tensor(sequence[start:-1])
            span_mask[row, : len(sequence) - 1 - start] = 1
            # Position n predicts token n + 1, so the answer is predicted from the prompt's last position on.
            for place in range(len(example.prompt) - 1, len(sequence) - 1) if counted else ():
                if place < start:
                    predict_in_context.append(row * context_width + place - prefix)
                    context_targets.append(sequence[place + 1])
                else:
                    predict_in_span.append(row * span_width + place - start)
                    span_targets.append(sequence[place + 1])
        return {
            "templates": torch.tensor([corpus.templates[n] for n in places]),
            "context": context,
            "context_mask": context_mask,
            "span": span,
            "span_mask": span_mask,
            "predict_in_context": torch.tensor(predict_in_context, dtype=torch.int64),
            "predict_in_span": torch.tensor(predict_in_span, dtype=torch.int64),
            "targets": torch.tensor(context_targets + span_targets, dtype=torch.int64),
        }
