from __future__ import annotations

import pytest

from gti_cli.errors import InputError, first_line, list_names, list_some


def test_error_is_one_line_with_place_and_remedy() -> None:
    error = InputError("two\nlines", where="items.parquet, row 3", remedy="drop it")
    assert str(error) == "items.parquet, row 3: two lines. Drop it."
    assert str(InputError("what?")) == "what?"


def test_examples_say_how_many_more() -> None:
    assert list_some(["a", "b"]) == "'a', 'b'"
    assert list_some(["a", "b", "c", "d", "e"]) == "'a', 'b', 'c' and 2 more"
    assert list_names(["a", "b"]) == "a, b" and list_names([]) == ""
    assert list_names([f"c{n}" for n in range(1234)], 2) == "c0, c1 and 1,232 more"


@pytest.mark.parametrize(("message", "line"), [("\n one \ntwo", "one"), ("", "ValueError"), ("  \n", "ValueError")])
def test_the_first_line_of_a_message(message: str, line: str) -> None:
    assert first_line(ValueError(message)) == line
