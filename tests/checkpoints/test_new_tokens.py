"""Names of semantic-ID tokens and the list of new tokens in a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.checkpoints import new_tokens as tokens
from gti_cli.checkpoints.new_tokens import NewTokens
from gti_cli.errors import InputError
from tests.support.models import make_tokenizer


@given(st.lists(st.integers(0, 99_999), min_size=1, max_size=tokens.MAX_LEVELS))
def test_semantic_id_round_trip(codes: list[int]) -> None:
    text = tokens.semantic_id(codes)
    assert [tokens.parse_name(name) for name in tokens.split_tokens(text)] == list(enumerate(codes))


def test_names() -> None:
    assert tokens.token_name(0, 12) == "<a_12>"
    assert tokens.semantic_id([12, 3]) == "<a_12><b_3>"
    assert tokens.all_names([2, 1]) == ["<a_0>", "<a_1>", "<b_0>"]
    assert tokens.parse_name("<pad>") is None
    with pytest.raises(ValueError, match="no letter"):
        tokens.token_name(26, 0)


def some_tokens() -> NewTokens:
    return NewTokens(
        tokens.all_names([2, 3]), np.arange(10, 15), np.array([0, 0, 1, 1, 1], np.int32), np.array([0, 1, 0, 1, 2])
    )


def test_list_of_new_tokens_round_trip(tmp_path: Path) -> None:
    tokens.write_new_tokens(tmp_path, some_tokens())
    found = tokens.read_new_tokens(tmp_path)
    assert found.names == some_tokens().names
    assert found.digest == some_tokens().digest
    for field in ("ids", "levels", "codes"):
        np.testing.assert_array_equal(getattr(found, field), getattr(some_tokens(), field))


def test_checkpoint_without_new_tokens(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no new tokens"):
        tokens.read_new_tokens(tmp_path)


def test_code_ids_by_level() -> None:
    first, second = tokens.code_ids(some_tokens(), [2, 3])
    assert first.tolist() == [10, 11]
    assert second.tolist() == [12, 13, 14]
    with pytest.raises(InputError, match="lacks the tokens '<a_2>'"):
        tokens.code_ids(some_tokens(), [3, 3])


def test_tokenizer_that_does_not_belong() -> None:
    tokenizer = make_tokenizer()
    names = tokens.all_names([2, 3])
    tokenizer.add_tokens(names)
    ids = np.asarray(tokenizer.convert_tokens_to_ids(names))
    good = NewTokens(names, ids, np.zeros(5, np.int32), np.zeros(5, np.int32))
    tokens.check_tokenizer(tokenizer, good)
    with pytest.raises(InputError, match="other ids"):
        tokens.check_tokenizer(tokenizer, NewTokens(names, ids + 1, good.levels, good.codes))
