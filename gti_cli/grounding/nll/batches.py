"""Examples cut where the gradient begins, and put into batches.

No position before the first new token depends on a trained row as its input, so it needs no gradient. An example is
cut into a head (what all examples of one template begin with: computed once for the whole run), a middle (the rest
before the first new token: computed without autograd) and a tail (from the first new token on).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gti_cli.prompts.examples import Example

Group = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Corpus:
    """Examples and where each is cut.

    Attributes:
        examples: N of them. kinds: (N) template of each, from 0. groups: (N) which examples of a batch are computed
            together (the direction: their tails are of similar length).
        heads: token ids of each template's head. firsts: (N) place of the first new token.
    """

    examples: list[Example]
    kinds: list[int]
    groups: list[int]
    heads: list[list[int]]
    firsts: list[int]

    def text_lengths(self) -> list[int]:
        """Tokens of each example that are no head: what its computation takes."""
        return [len(e) - len(self.heads[kind]) for e, kind in zip(self.examples, self.kinds, strict=True)]

    def columns(self) -> int:
        """The most columns that a batch can have: head, middle and tail are filled up each for itself."""
        cuts = [(len(e), len(self.heads[k]), f) for e, k, f in zip(self.examples, self.kinds, self.firsts, strict=True)]
        return max(h for _, h, _ in cuts) + max(f - h for _, h, f in cuts) + max(n - f for n, _, f in cuts)


def cut_examples(
    examples: Sequence[Example], kinds: Sequence[int], groups: Sequence[int], new_ids: set[int], *, whole: bool = False
) -> Corpus:
    """Find heads and first new tokens; ``whole`` cuts nothing (everything is computed with autograd).

    Raises:
        ValueError: an example without a new token, or one that begins with it.
    """
    count = max(kinds) + 1
    if whole:
        return Corpus(list(examples), list(kinds), list(groups), [[] for _ in range(count)], [0] * len(examples))
    firsts = [_first(example, new_ids) for example in examples]
    heads: list[list[int] | None] = [None] * count
    for example, kind, first in zip(examples, kinds, firsts, strict=True):
        # A position whose logits are trained on stays out of the head: its hidden state is wanted.
        prefix = example.prompt[: min(first, len(example.prompt) - 1)]
        known = heads[kind]
        heads[kind] = prefix if known is None else known[: _common(known, prefix)]
    return Corpus(list(examples), list(kinds), list(groups), [head or [] for head in heads], firsts)


def _first(example: Example, new_ids: set[int]) -> int:
    sequence = example.prompt + example.answer
    first = next((place for place, token in enumerate(sequence[:-1]) if token in new_ids), 0)
    if first == 0:
        raise ValueError("an example must hold a new token, and must not begin with it")
    return first


def _common(a: list[int], b: list[int]) -> int:
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


class Collator:
    """Puts examples of a `Corpus` into a batch: one set of tensors for each group."""

    def __init__(self, corpus: Corpus, pad: int, *, in_step: bool = False) -> None:
        """``in_step``: every batch makes the model run equally often, also an empty one.

        A group without an example gets one that does not count, and a middle is there if the corpus has any.
        """
        self.corpus, self.pad, self._in_step = corpus, pad, in_step
        self._stand_in: dict[int, int] = {}
        if in_step:
            lengths = corpus.text_lengths()
            for place in sorted(range(len(lengths)), key=lambda n: (lengths[n], n)):
                self._stand_in.setdefault(corpus.groups[place], place)

    def __call__(self, places: Sequence[int]) -> dict[str, list[Group]]:
        """Return ``{"groups": [...]}``; see `_group`."""
        groups: dict[int, list[int]] = {key: [] for key in self._stand_in}
        for place in places:
            groups.setdefault(self.corpus.groups[place], []).append(place)
        return {"groups": [self._group(groups[key], key) for key in sorted(groups)]}

    def _group(self, counted: list[int], key: int) -> Group:
        """Tensors of B examples, filled up on the right.

        Returns:
            ``kinds`` (B,); ``middle``, ``middle_mask`` (B, P); ``tail``, ``tail_mask`` (B, S); ``keep_middle`` and
            ``keep_tail``: places in the flattened (B * P) and (B * S) whose logits are trained on; ``targets``: what
            they predict, those of the middles first.
        """
        corpus, places = self.corpus, counted or [self._stand_in[key]]
        cuts = [(corpus.examples[n], len(corpus.heads[corpus.kinds[n]]), corpus.firsts[n]) for n in places]
        wide = max(first - head for _, head, first in cuts)
        wide = max(wide, int(self._in_step and any(corpus.firsts)))  # a column that is masked everywhere
        long = max(len(example) - 1 - first for example, _, first in cuts)
        middle = torch.full((len(cuts), wide), self.pad)
        tail = torch.full((len(cuts), long), self.pad)
        middle_mask, tail_mask = torch.zeros_like(middle), torch.zeros_like(tail)
        keep_middle: list[int] = []
        keep_tail: list[int] = []
        in_middle: list[int] = []
        in_tail: list[int] = []
        for row, (example, head, first) in enumerate(cuts):
            sequence = example.prompt + example.answer
            middle[row, : first - head] = torch.tensor(sequence[head:first], dtype=torch.int64)
            middle_mask[row, : first - head] = 1
            tail[row, : len(sequence) - 1 - first] = torch.tensor(sequence[first:-1])
            tail_mask[row, : len(sequence) - 1 - first] = 1
            for place in range(len(example.prompt) - 1, len(sequence) - 1) if counted else ():
                if place < first:
                    keep_middle.append(row * wide + place - head)
                    in_middle.append(sequence[place + 1])
                else:
                    keep_tail.append(row * long + place - first)
                    in_tail.append(sequence[place + 1])
        return {
            "kinds": torch.tensor([corpus.kinds[n] for n in places]),
            "middle": middle,
            "middle_mask": middle_mask,
            "tail": tail,
            "tail_mask": tail_mask,
            "keep_middle": torch.tensor(keep_middle, dtype=torch.int64),
            "keep_tail": torch.tensor(keep_tail, dtype=torch.int64),
            "targets": torch.tensor(in_middle + in_tail, dtype=torch.int64),
        }
