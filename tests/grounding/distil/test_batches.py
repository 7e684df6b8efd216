"""Alignment from behind, over random lengths and fillings and over a real tokenizer; and what a batch holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.grounding.distil.batches import (
    DistilCollator,
    DistilCorpus,
    DistilExample,
    encode_uses,
    shared_end,
    start_id,
)
from gti_cli.grounding.distil.contexts import TEMPLATE, Use
from gti_cli.grounding.distil.old_tokenization import OldTokenization
from tests.support.distillation import extended_tokenizer
from tests.support.models import make_tokenizer

OLD, NEW = 60, 4
ids = st.lists(st.integers(1, OLD - 1), max_size=6)


@st.composite
def cases(draw: Any) -> tuple[list[int], list[int], list[int], int]:
    """(before, phrase, behind, new id)."""
    return draw(ids), draw(ids.filter(len)), draw(ids), draw(st.integers(OLD, OLD + NEW - 1))


@given(st.lists(cases(), min_size=1, max_size=5), st.integers(0, 70))
def test_positions_correspond_whatever_the_lengths_and_the_filling(found: list[Any], pad: int) -> None:
    examples = []
    for before, phrase, behind, new in found:
        teacher, student = [1, *before, *phrase, *behind], [1, *before, new, *behind]
        examples.append(DistilExample(teacher, student, shared_end(teacher, student), len(before) + 1))
        assert examples[-1].shared == len(behind)  # a phrase never holds the new id, so it never seems to go on
    batch = DistilCollator(DistilCorpus(examples), pad)(range(len(examples)))["batch"]
    teacher, student = batch["teacher"].flatten(), batch["student"].flatten()
    assert (batch["teacher_mask"].sum(1) == torch.tensor([len(e.teacher) for e in examples])).all()
    assert (batch["student_mask"].sum(1) == torch.tensor([len(e.student) for e in examples])).all()
    # Reading order within each example: the end of the phrase beside the token, then the same ids on both sides.
    expected_teacher, expected_student, targets, follows = [], [], [], []
    for _, phrase, behind, new in found:
        expected_teacher += [phrase[-1], *behind]
        expected_student += [new, *behind]
        targets += [new, *behind]
        follows += [False, *[True] * len(behind)]
    assert teacher[batch["teacher_at"]].tolist() == expected_teacher
    assert student[batch["student_at"]].tolist() == expected_student
    assert batch["targets"].tolist() == targets and batch["follows"].tolist() == follows
    assert student[batch["predict_at"] + 1].tolist() == targets
    assert teacher[batch["teacher_predict_at"] + 1].tolist() == batch["targets"][batch["follows"]].tolist()


@given(st.lists(st.integers(0, 2), max_size=8), st.lists(st.integers(0, 2), max_size=8))
def test_shared_end_is_the_longest_common_end(first: list[int], second: list[int]) -> None:
    same = shared_end(first, second)
    assert first[len(first) - same :] == second[len(second) - same :]
    if same < min(len(first), len(second)):
        assert first[-same - 1] != second[-same - 1]


text = st.text(st.sampled_from("abcdeghilnorst ,.éß日\n"), max_size=20)


@given(text, text.filter(lambda words: words.strip()), text)
def test_both_readings_have_read_the_same_text_where_positions_correspond(
    before: str, phrase: str, behind: str
) -> None:
    tokenizer, new = extended_tokenizer(["<x>"])
    old = OldTokenization(tokenizer, ["<x>"])
    _, (example,) = encode_uses(tokenizer, old, [Use(0, phrase, "<x>", before, behind, TEMPLATE)], new)
    assert not set(example.teacher) & new
    opening = tokenizer.decode([start_id(tokenizer)])
    for back in range(example.shared + 1):
        read = tokenizer.decode(example.teacher[: len(example.teacher) - back])
        ours = tokenizer.decode(example.student[: len(example.student) - back])
        if "\ufffd" not in read + ours:  # in the middle of a character
            assert read.startswith(opening + before + phrase)
            assert ours == opening + before + "<x>" + read[len(opening + before + phrase) :]


def test_a_token_with_the_name_of_its_phrase_is_taken_apart_for_the_teacher() -> None:
    tokenizer, new = extended_tokenizer(["dress", "silk"])
    old = OldTokenization(tokenizer, ["dress", "silk"])
    assert old.encode(["a silk dress"]) == make_tokenizer()(["a silk dress"], add_special_tokens=False)["input_ids"]
    use = Use(0, "dress", "dress", "The red ", " is made of silk.", TEMPLATE)
    kept, (example,) = encode_uses(tokenizer, old, [use], new)
    assert kept == [use] and not set(example.teacher) & new
    # The second new token stands in the context: what follows it is common, and it has its own place.
    assert len([token for token in example.student if token in new]) == 2
    assert tokenizer.decode(example.student[example.first]) == "dress"
    assert tokenizer.decode(example.student[-example.shared :]) == "."
    assert sorted(old.ids()) == list(range(len(make_tokenizer())))


def test_uses_that_read_as_other_tokens_are_left_out_and_tokens_without_any_are_refused() -> None:
    tokenizer, new = extended_tokenizer(["coat", "coats"])
    old = OldTokenization(tokenizer, ["coat", "coats"])
    good = Use(0, "warm jacket", "coat", "A ", " is warm", TEMPLATE)
    swallowed = Use(0, "warm jacket", "coat", "Two ", "s are warm", TEMPLATE)
    kept, found = encode_uses(tokenizer, old, [swallowed, good], new)
    assert kept == [good] and len(found) == 1
    with pytest.raises(InputError, match="in every context the tokenizer merges 'coat'"):
        encode_uses(tokenizer, old, [swallowed], new)


def test_several_tokens_for_one_phrase() -> None:
    tokenizer, new = extended_tokenizer(["<x>", "<y>"])
    old = OldTokenization(tokenizer, ["<x>", "<y>"])
    _, (example,) = encode_uses(tokenizer, old, [Use(0, "red coat", "<x><y>", "A ", " fits.", TEMPLATE)], new)
    batch = DistilCollator(DistilCorpus([example]), 0)([0])["batch"]
    names = [tokenizer.decode(token) for token in batch["targets"][:2]]
    assert names == ["<x>", "<y>"] and batch["follows"].tolist()[:2] == [False, False]
    assert tokenizer.decode(batch["student"][0, batch["student_at"][0]]) == "<y>"


def test_a_sequence_begins_with_what_the_tokenizer_has() -> None:
    tokenizer = make_tokenizer()
    assert start_id(tokenizer) == tokenizer.eos_token_id
    tokenizer.bos_token = "<|im_start|>"
    assert start_id(tokenizer) == tokenizer.convert_tokens_to_ids("<|im_start|>")
