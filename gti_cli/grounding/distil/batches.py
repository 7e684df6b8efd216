"""Each use of a phrase as two token sequences with a common end (teacher and student), and batches of them.

The frozen model reads a context with the phrase in the old tokenization (the teacher's sequence), and with the new
tokens in the phrase's place (the student's sequence). Let m be the number of tokens in which both sequences end alike.
From the position before these m tokens on, teacher and student have read the same text in different tokens, so their
last m + 1 positions correspond, counted from the end. Where the old tokenization joins the end of the phrase with the
text after it, m is smaller and the statement still holds.

Comes after `distil.contexts`, which makes the uses. `distil.objective` computes the loss of the batches made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from gti_cli.errors import InputError, list_some
from gti_cli.grounding.distil.contexts import Use
from gti_cli.grounding.distil.old_tokenization import OldTokenization
from gti_cli.prompts.text_as_data import data_encoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DistilBatch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class DistilExample:
    """A phrase and its tokens in one context.

    Attributes:
        teacher: Token ids with the phrase in the old tokenization.
        student: Token ids with the new tokens.
        shared: m, the number of last tokens that both have in common.
        first: Index of the first new token in ``student``.
    """

    teacher: list[int]
    student: list[int]
    shared: int
    first: int

    def __len__(self) -> int:
        """Tokens that a step computes for this example."""
        return len(self.teacher) + len(self.student)


@dataclass(frozen=True)
class DistilCorpus:
    """Examples to train on, or to measure on.

    Attributes:
        examples: (N) examples.
    """

    examples: list[DistilExample]

    def computed_lengths(self) -> list[int]:
        """(N) tokens that a step computes for each example."""
        return [len(example) for example in self.examples]


def shared_end(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of last elements that two sequences have in common."""
    same = 0
    while same < min(len(first), len(second)) and first[-1 - same] == second[-1 - same]:
        same += 1
    return same


def start_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Choose the token that opens every sequence: the first that exists of bos, eos and padding.

    The first position of a model is an attention sink: its hidden state is unlike all others, whichever token is there.
    A new token must therefore never be first, not even for tokenizers that add no opening token themselves.

    Args:
        tokenizer: The model's tokenizer.

    Returns:
        The token's id.

    Raises:
        InputError: When the tokenizer has none of these tokens.
    """
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        if isinstance(token, int):
            return token
    raise InputError("the tokenizer has no token that could begin a sequence")


def encode_uses(
    tokenizer: PreTrainedTokenizerBase, old: OldTokenization, uses: Sequence[Use], new_ids: set[int]
) -> tuple[list[Use], list[DistilExample]]:
    """Tokenise uses for teacher and student.

    A use is left out if the tokenizer reads other tokens than the use's own: a longer new token may match them together
    with the text after them.

    Args:
        tokenizer: The extended tokenizer.
        old: The same without the new tokens.
        uses: The uses.
        new_ids: Token ids of the new tokens.

    Returns:
        The uses that remain, and the example of each.

    Raises:
        InputError: When tokens have no use that remains.
    """
    opening = start_id(tokenizer)
    phrases = old.encode([use.with_phrase for use in uses])
    texts: Any = tokenizer([use.with_tokens for use in uses], add_special_tokens=False)["input_ids"] if uses else []
    data = data_encoder(tokenizer)
    own_ids: dict[str, list[int]] = {}
    usable, encoded = [], []
    for use, phrase, text in zip(uses, phrases, texts, strict=True):
        if use.tokens not in own_ids:
            own_ids[use.tokens] = list(tokenizer(use.tokens, add_special_tokens=False)["input_ids"])
        if data.count(text) != data.count(own_ids[use.tokens]):  # the context holds the name of a token
            text = data.encode([(use.before, True), (use.tokens, False), (use.behind, True)])
        if not _contains(text, own_ids[use.tokens]):
            continue
        teacher, student = [opening, *phrase], [opening, *text]
        first = next(place for place, token in enumerate(student) if token in new_ids)
        usable.append(use)
        encoded.append(DistilExample(teacher, student, shared_end(teacher, student), first))
    lost = {use.tokens for use in uses} - {use.tokens for use in usable}
    if lost:
        raise InputError(
            f"in every context the tokenizer merges {list_some(sorted(lost))} with the text after them",
            remedy="give a context with another character after them",
        )
    return usable, encoded


def _contains(sequence: Sequence[int], part: Sequence[int]) -> bool:
    return any(list(sequence[n : n + len(part)]) == list(part) for n in range(len(sequence) - len(part) + 1))


class DistilCollator:
    """Puts examples of a `DistilCorpus` into a batch.

    Attributes:
        corpus: The examples.
        pad: Token id that fills rows up.
        teacher_states: For each example, the teacher's hidden states (m + 1, d) float32 at its corresponding positions,
            where they were computed beforehand. None: each batch computes its own.
    """

    def __init__(self, corpus: DistilCorpus, pad: int) -> None:
        self.corpus, self.pad = corpus, pad
        self.teacher_states: list[torch.Tensor] | None = None

    def __call__(self, numbers: Sequence[int]) -> dict[str, DistilBatch]:
        """Collate examples.

        Args:
            numbers: Indices of the batch's examples. A process without a share of the batch has none of them; it gets
                an example that does not count, because all processes must run the model together.

        Returns:
            ``{"batch": …}`` with the tensors of B examples, filled up on the right:

            - ``weight`` 0-dim int64: 1, or 0 if the example does not count.
            - ``teacher``, ``teacher_mask`` (B, T) and ``student``, ``student_mask`` (B, S) int64.
            - ``teacher_at``, ``student_at`` (n,) int64: corresponding positions, in the flattened (B * T) and (B * S).
            - ``predict_at`` (k,) int64: positions in (B * S) that predict the new tokens and everything after them.
            - ``targets`` (k,) int64: the tokens that they predict.
            - ``follows`` (k,) bool: whether a target is one of the m common tokens.
            - ``teacher_predict_at`` (f,) int64: positions in (B * T) that predict the common tokens, in the same order.
            - ``teacher_states`` (n, d) float32, only where they were computed beforehand.
        """
        chosen = [self.corpus.examples[n] for n in numbers or [0]]
        teacher, teacher_mask = self._pad_rows([example.teacher for example in chosen])
        student, student_mask = self._pad_rows([example.student for example in chosen])
        student_at: list[int] = []
        teacher_at: list[int] = []
        predict: list[int] = []
        targets: list[int] = []
        follows: list[bool] = []
        teacher_predict: list[int] = []
        for row, example in enumerate(chosen):
            # Ends of both sequences as positions in the flattened tensors; everything is counted back from them.
            end = row * student.shape[1] + len(example.student)
            teacher_end = row * teacher.shape[1] + len(example.teacher)
            student_at += range(end - example.shared - 1, end)
            teacher_at += range(teacher_end - example.shared - 1, teacher_end)
            predicted = len(example.student) - example.first
            predict += range(end - predicted - 1, end - 1)
            targets += example.student[example.first :]
            follows += [place >= predicted - example.shared for place in range(predicted)]
            teacher_predict += range(teacher_end - example.shared - 1, teacher_end - 1)
        indices = {"student_at": student_at, "teacher_at": teacher_at, "predict_at": predict, "targets": targets}
        batch = {name: torch.tensor(values, dtype=torch.int64) for name, values in indices.items()}
        batch["weight"] = torch.tensor(int(bool(numbers)))
        batch["teacher_predict_at"] = torch.tensor(teacher_predict, dtype=torch.int64)
        batch["follows"] = torch.tensor(follows, dtype=torch.bool)
        if self.teacher_states is not None:
            batch["teacher_states"] = torch.cat([self.teacher_states[n] for n in numbers or [0]])
        batch |= {"teacher": teacher, "teacher_mask": teacher_mask, "student": student, "student_mask": student_mask}
        return {"batch": batch}

    def _pad_rows(self, sequences: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask (B, T) of sequences, filled up on the right."""
        ids = torch.full((len(sequences), max(map(len, sequences))), self.pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.int64)
            mask[row, : len(sequence)] = 1
        return ids, mask
