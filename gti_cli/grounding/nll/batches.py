"""Divided examples put into batches: token ids, masks, and the positions that predict answer tokens.

Comes after `nll.build_corpus`, which tokenises the pairs. `nll.corpus` explains into which parts an example is divided.
`nll.objective` computes the loss of the batches made here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gti_cli.grounding.nll.corpus import Corpus

GroupTensors = dict[str, torch.Tensor]


class Collator:
    """Puts examples of a `Corpus` into a batch: one set of tensors for each group.

    Attributes:
        corpus: The examples.
        pad: Token id that fills rows up.
    """

    def __init__(self, corpus: Corpus, pad: int, *, lockstep: bool = False) -> None:
        """Prepare for a corpus.

        Args:
            corpus: The examples.
            pad: Token id that fills rows up.
            lockstep: Every process runs the model the same number of times for a batch, also where it has no example
                of it. Processes that each hold a part of the weights must run the model together, or they wait for each
                other forever.
                A group without an example gets a stand-in that does not count, and a context is present in every
                batch if the corpus has contexts at all.
        """
        self.corpus, self.pad, self._lockstep = corpus, pad, lockstep
        # Group number -> its shortest example, the cheapest stand-in. Empty unless ``lockstep``.
        self._stand_in: dict[int, int] = {}
        if lockstep:
            lengths = corpus.computed_lengths()
            for number in sorted(range(len(lengths)), key=lambda n: (lengths[n], n)):
                self._stand_in.setdefault(corpus.groups[number], number)

    def __call__(self, numbers: Sequence[int]) -> dict[str, list[GroupTensors]]:
        """Collate examples.

        Args:
            numbers: Indices of the batch's examples in the corpus; may be empty.

        Returns:
            ``{"groups": [...]}``, in the order of group numbers. Each group holds the tensors of B examples, filled up
            on the right:

            - ``templates`` (B,) int64: template numbers, for which the model has the prefixes.
            - ``context`` and ``context_mask`` (B, P) int64.
            - ``span`` and ``span_mask`` (B, S) int64: the target spans without their last token, which is no input.
            - ``predict_in_context`` and ``predict_in_span`` int64: positions in the flattened (B * P) and (B * S) whose
              logits predict an answer token.
            - ``targets`` (m,) int64: the answer tokens, first those predicted in contexts, then those in spans.
        """
        groups: dict[int, list[int]] = {key: [] for key in self._stand_in}
        for number in numbers:
            groups.setdefault(self.corpus.groups[number], []).append(number)
        return {"groups": [self._group(groups[key], key) for key in sorted(groups)]}

    def _group(self, counted: list[int], key: int) -> GroupTensors:
        """Tensors of the examples ``counted``, all of group ``key``; of the group's stand-in if there are none."""
        corpus, numbers = self.corpus, counted or [self._stand_in[key]]
        parts = [
            (corpus.examples[n], len(corpus.prefixes[corpus.templates[n]]), corpus.span_starts[n]) for n in numbers
        ]
        context_width = max(start - prefix for _, prefix, start in parts)
        # The model runs once for contexts and once for spans. In lockstep, a batch without context gets a column that
        # is masked everywhere, so that this process runs the model for contexts, too, as the other processes do.
        context_width = max(context_width, int(self._lockstep and any(corpus.span_starts)))
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
            # Position n predicts token n + 1, so the answer is predicted from the prompt's last position on. A stand-in
            # predicts nothing.
            for position in range(len(example.prompt) - 1, len(sequence) - 1) if counted else ():
                if position < start:
                    predict_in_context.append(row * context_width + position - prefix)
                    context_targets.append(sequence[position + 1])
                else:
                    predict_in_span.append(row * span_width + position - start)
                    span_targets.append(sequence[position + 1])
        return {
            "templates": torch.tensor([corpus.templates[n] for n in numbers]),
            "context": context,
            "context_mask": context_mask,
            "span": span,
            "span_mask": span_mask,
            "predict_in_context": torch.tensor(predict_in_context, dtype=torch.int64),
            "predict_in_span": torch.tensor(predict_in_span, dtype=torch.int64),
            "targets": torch.tensor(context_targets + span_targets, dtype=torch.int64),
        }
