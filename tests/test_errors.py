from __future__ import annotations

from gti_cli.errors import InputError, examples


def test_error_is_one_line_with_place_and_remedy() -> None:
    error = InputError("two\nlines", where="items.parquet, row 3", remedy="drop it")
    assert str(error) == "items.parquet, row 3: two lines. Drop it."
    assert str(InputError("what?")) == "what?"


def test_examples_say_how_many_more() -> None:
    assert examples(["a", "b"]) == "'a', 'b'"
    assert examples(["a", "b", "c", "d", "e"]) == "'a', 'b', 'c' and 2 more"
