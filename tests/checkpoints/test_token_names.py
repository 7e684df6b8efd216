"""Names of semantic-ID tokens in both styles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.checkpoints import token_names
from gti_cli.checkpoints.token_names import BEGIN, END, LC_REC, MAX_LEVELS, ONEREC, TOKEN_STYLES


@pytest.mark.parametrize("style", TOKEN_STYLES)
def test_the_pattern_of_a_level_gives_its_names(style: str) -> None:
    pattern = token_names.code_pattern(14, style)  # level "o"
    assert [pattern.format(code) for code in (0, 107)] == [token_names.token_name(14, code, style) for code in (0, 107)]


@given(st.lists(st.integers(0, 99_999), min_size=1, max_size=MAX_LEVELS), st.sampled_from(TOKEN_STYLES))
def test_codes_of_a_written_id_can_be_read_again(codes: list[int], style: str) -> None:
    text = token_names.semantic_id(codes, style)
    assert [token_names.parse_name(name) for name in token_names.split_tokens(text)] == list(enumerate(codes))
    assert token_names.text_before_codes(text) == token_names.boundary_tokens(style)[0]


def test_names_in_the_style_of_lc_rec() -> None:
    assert token_names.token_name(0, 12) == "<a_12>"
    assert token_names.semantic_id([12, 3]) == "<a_12><b_3>"
    assert token_names.all_names([2, 1]) == ["<a_0>", "<a_1>", "<b_0>"]
    assert token_names.boundary_tokens(LC_REC) == ("", "")


def test_names_in_the_style_of_onerec() -> None:
    assert token_names.token_name(1, 3, ONEREC) == "<s_b_3>"
    assert token_names.semantic_id([12, 3], ONEREC) == "<|sid_begin|><s_a_12><s_b_3><|sid_end|>"
    assert token_names.all_names([1, 1], ONEREC) == ["<s_a_0>", "<s_b_0>", BEGIN, END]


@pytest.mark.parametrize("name", ["<pad>", "<a_>", "<a_1", "<A_1>", "<a_1><b_2>", BEGIN, ""])
def test_other_tokens_are_no_codes(name: str) -> None:
    assert token_names.parse_name(name) is None


def test_words_without_a_code_have_nothing_before_it() -> None:
    assert token_names.text_before_codes("a red dress") == ""


@pytest.mark.parametrize("level", [-1, MAX_LEVELS])
def test_levels_without_a_letter_are_refused(level: int) -> None:
    with pytest.raises(ValueError, match="no letter"):
        token_names.token_name(level, 0)
