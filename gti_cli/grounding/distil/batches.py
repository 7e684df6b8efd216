"""Phrases and tokens in context, as sequences that end alike, and as batches.

The frozen model reads a context with the phrase in the old tokenization (the teacher's sequence) and with the new
tokens in its place (the student's). Both end in the same tokens. Let these be m: from the position before them on, the
two have read the same text, in other words, so the last m + 1 positions of one correspond to those of the other,
counted from behind. Where the tokenizer joins the end of the phrase to what follows it, m is smaller and this still
holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from gti_cli.errors import InputError, examples
from gti_cli.grounding.distil.contexts import Use
from gti_cli.grounding.distil.old_tokenization import OldTokenization

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class DistilExample:
    """A phrase and its tokens in one context.

    Attributes:
        teacher: ids with the phrase in the old tokenization. student: with the new tokens.
        shared: m, how many last ids are common to both. first: place of the first new token in ``student``.
    """

    teacher: list[int]
    student: list[int]
    shared: int
    first: int

    def __len__(self) -> int:
        """Tokens that a step computes for it."""
        return len(self.teacher) + len(self.student)


@dataclass(frozen=True)
class DistilCorpus:
    """Examples to train on, or to measure on."""

    examples: list[DistilExample]

    def text_lengths(self) -> list[int]:
        """What batches of similar length are planned by."""
        return [len(example) for example in self.examples]


def shared_end(first: Sequence[int], second: Sequence[int]) -> int:
    """How many last elements two sequences have in common."""
    same = 0
    while same < min(len(first), len(second)) and first[-1 - same] == second[-1 - same]:
        same += 1
    return same


def start_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """What every sequence begins with.

    A model's first position is an attention sink, with a hidden state like no other, whatever stands there; so that a
    new token never stands there, something opens the sequence also where the tokenizer itself would put nothing.
    """
    for found in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        if isinstance(found, int):
            return found
    raise InputError("the tokenizer has no token that could begin a sequence")


def encode_uses(
    tokenizer: PreTrainedTokenizerBase, old: OldTokenization, uses: Sequence[Use], new_ids: set[int]
) -> tuple[list[Use], list[DistilExample]]:
    """Tokenise uses both ways.

    A use whose tokens the tokenizer reads as others (a longer new token swallows them and what follows) is left out.

    Returns:
        the uses that are kept, and the example of each.

    Raises:
        InputError: tokens of which no use is left.
    """
    opening = start_id(tokenizer)
    phrases = old.encode([use.with_phrase for use in uses])
    texts: Any = tokenizer([use.with_tokens for use in uses], add_special_tokens=False)["input_ids"] if uses else []
    wanted: dict[str, list[int]] = {}
    kept, found = [], []
    for use, phrase, text in zip(uses, phrases, texts, strict=True):
        if use.tokens not in wanted:
            wanted[use.tokens] = list(tokenizer(use.tokens, add_special_tokens=False)["input_ids"])
        if not _holds(text, wanted[use.tokens]):
            continue
        teacher, student = [opening, *phrase], [opening, *text]
        first = next(place for place, token in enumerate(student) if token in new_ids)
        kept.append(use)
        found.append(DistilExample(teacher, student, shared_end(teacher, student), first))
    lost = {use.tokens for use in uses} - {use.tokens for use in kept}
    if lost:
        raise InputError(
            f"no context in which the tokenizer reads {examples(sorted(lost))} as these tokens",
            remedy="give a context in which another character follows them",
        )
    return kept, found


def _holds(sequence: Sequence[int], part: Sequence[int]) -> bool:
    return any(list(sequence[n : n + len(part)]) == list(part) for n in range(len(sequence) - len(part) + 1))


class DistilCollator:
    """Puts examples of a `DistilCorpus` into a batch."""

    def __init__(self, corpus: DistilCorpus, pad: int) -> None:
        self.corpus, self.pad = corpus, pad

    def __call__(self, places: Sequence[int]) -> dict[str, Batch]:
        """Return ``{"batch": …}`` of B examples, both sequences filled up on the right.

        A process without a share (no places) computes an example that does not count.

        Returns:
            ``weight``: 1, or 0 where nothing counts;
            ``teacher``, ``teacher_mask`` (B, T) and ``student``, ``student_mask`` (B, S) int64;
            ``teacher_at`` and ``student_at`` (n,): positions that correspond, in the flattened (B * T) and (B * S);
            ``predict_at`` (k,): positions in (B * S) that predict the new tokens and all that follows them;
            ``targets`` (k,): what follows these positions;
            ``follows`` (k,) bool: whether the target is one of the m common tokens;
            ``teacher_predict_at`` (f,): positions in (B * T) that predict the common tokens, in the same order.
        """
        examples = [self.corpus.examples[n] for n in places or [0]]
        teacher, teacher_mask = self._fill([example.teacher for example in examples])
        student, student_mask = self._fill([example.student for example in examples])
        at: list[int] = []
        teacher_at: list[int] = []
        predict: list[int] = []
        targets: list[int] = []
        follows: list[bool] = []
        teacher_predict: list[int] = []
        for row, example in enumerate(examples):
            end, teacher_end = row * student.shape[1] + len(example.student), row * teacher.shape[1]
            teacher_end += len(example.teacher)
            at += range(end - example.shared - 1, end)
            teacher_at += range(teacher_end - example.shared - 1, teacher_end)
            written = len(example.student) - example.first
            predict += range(end - written - 1, end - 1)
            targets += example.student[example.first :]
            follows += [place >= written - example.shared for place in range(written)]
            teacher_predict += range(teacher_end - example.shared - 1, teacher_end - 1)
        numbers = {"student_at": at, "teacher_at": teacher_at, "predict_at": predict, "targets": targets}
        batch = {name: torch.tensor(values, dtype=torch.int64) for name, values in numbers.items()}
        batch["weight"] = torch.tensor(int(bool(places)))
        batch["teacher_predict_at"] = torch.tensor(teacher_predict, dtype=torch.int64)
        batch["follows"] = torch.tensor(follows, dtype=torch.bool)
        batch |= {"teacher": teacher, "teacher_mask": teacher_mask, "student": student, "student_mask": student_mask}
        return {"batch": batch}

    def _fill(self, sequences: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.full((len(sequences), max(map(len, sequences))), self.pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.int64)
            mask[row, : len(sequence)] = 1
        return ids, mask
