"""The list of new tokens in a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.checkpoints.new_tokens import (
    NewTokens,
    boundary_ids,
    check_tokenizer,
    code_ids,
    find_code_tokens,
    merge_new_tokens,
    read_new_tokens,
    write_new_tokens,
)
from gti_cli.checkpoints.token_names import BEGIN, END, LC_REC, ONEREC, TOKEN_STYLES, all_names
from gti_cli.errors import InputError
from tests.support.models import make_tokenizer


def some_tokens() -> NewTokens:
    return NewTokens(
        all_names([2, 3]), np.arange(10, 15), np.array([0, 0, 1, 1, 1], np.int32), np.array([0, 1, 0, 1, 2])
    )


def words(*names: str, first_id: int = 50) -> NewTokens:
    none = np.full(len(names), -1, np.int32)
    return NewTokens(list(names), np.arange(first_id, first_id + len(names)), none, none)


def test_the_list_can_be_read_again(tmp_path: Path) -> None:
    write_new_tokens(tmp_path, some_tokens())
    tokens = read_new_tokens(tmp_path)
    assert tokens.names == some_tokens().names
    assert tokens.digest == some_tokens().digest
    for field in ("ids", "levels", "codes"):
        np.testing.assert_array_equal(getattr(tokens, field), getattr(some_tokens(), field))


def test_a_checkpoint_without_the_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no new tokens"):
        read_new_tokens(tmp_path)


def test_measurements_cover_the_codes_or_else_all_tokens() -> None:
    both = merge_new_tokens(words("x"), some_tokens())
    assert both.codes_or_all().tolist() == [1, 2, 3, 4, 5]
    assert words("x", "y").codes_or_all().tolist() == [0, 1]


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.sampled_from(TOKEN_STYLES),
    st.randoms(use_true_random=False),
)
def test_codes_are_found_in_a_shuffled_vocabulary(sizes: list[int], style: str, random: object) -> None:
    names = all_names(sizes, style)
    vocabulary = [*names, "a", "red", "<pad>"]
    random.shuffle(vocabulary)  # type: ignore[attr-defined]
    ids = {name: number for number, name in enumerate(vocabulary)}
    tokens = find_code_tokens(ids)
    assert tokens is not None
    assert tokens.names == names
    assert tokens.ids.tolist() == [ids[name] for name in names]
    expected = [(level, code) for level, size in enumerate(sizes) for code in range(size)]
    expected += [(-1, -1)] * (2 if style == ONEREC else 0)
    assert list(zip(tokens.levels.tolist(), tokens.codes.tolist(), strict=True)) == expected
    assert tokens.style == style


def test_a_vocabulary_without_codes_has_no_code_tokens() -> None:
    assert find_code_tokens({"red": 0, BEGIN: 1, END: 2}) is None


def test_merging_keeps_the_first_list_and_appends_what_it_lacks() -> None:
    both = merge_new_tokens(some_tokens(), merge_new_tokens(words("x"), some_tokens()))
    assert both.names == [*some_tokens().names, "x"]
    assert both.ids.tolist() == [10, 11, 12, 13, 14, 50]
    assert both.levels.tolist() == [0, 0, 1, 1, 1, -1]
    assert both.codes.tolist() == [0, 1, 0, 1, 2, -1]


def test_code_ids_by_level() -> None:
    first, second = code_ids(some_tokens(), [2, 3])
    assert first.tolist() == [10, 11]
    assert second.tolist() == [12, 13, 14]
    with pytest.raises(InputError, match="lacks the tokens '<a_2>'"):
        code_ids(some_tokens(), [3, 3])


def test_boundary_ids_where_the_style_has_them() -> None:
    assert some_tokens().style == LC_REC and boundary_ids(some_tokens()) is None
    assert boundary_ids(merge_new_tokens(some_tokens(), words(END, BEGIN))) == (51, 50)


def test_a_tokenizer_of_another_checkpoint_is_refused() -> None:
    tokenizer = make_tokenizer()
    names = all_names([2, 3])
    tokenizer.add_tokens(names)
    ids = np.asarray(tokenizer.convert_tokens_to_ids(names))
    tokens = NewTokens(names, ids, np.zeros(5, np.int32), np.zeros(5, np.int32))
    check_tokenizer(tokenizer, tokens)
    with pytest.raises(InputError, match="other ids"):
        check_tokenizer(tokenizer, NewTokens(names, ids + 1, tokens.levels, tokens.codes))
