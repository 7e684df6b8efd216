"""Tables on a narrow terminal: whole figures, no wider than they must be, and nothing lost."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gti_cli.console.layout import LONGEST_WORD, cell, column_widths, columns_that_fit, make_table

FIGURES = ["effective rank", "pretrained's", "stable rank", "mean cosine", "RSA r", "RSA rho"]


def drawn(columns: list[str], rows: list[list[object]], width: int) -> list[str]:
    shown = make_table("Title", columns, rows, width)
    console = Console(file=io.StringIO(), width=1000, highlight=False)
    console.print(shown, markup=False)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_figures_stay_whole_and_texts_are_folded() -> None:
    rows: list[list[object]] = [["start-text-lstsq-of-a-long-name", "a verdict of words", 0.12345, 176.9289]] * 3
    lines = drawn(["checkpoint", "verdict", "RSA", "effective rank"], rows, 60)
    assert max(map(len, lines)) <= 60
    text = "\n".join(lines)
    assert text.count("0.1235") == text.count("176.9289") == 3
    assert re.sub(r"[^a-z-]", "", "".join(line.split("│")[1] for line in lines if line.startswith("│"))).startswith(
        "start-text-lstsq-of-a-long-name"
    )


def test_a_table_of_few_rows_is_turned_where_it_does_not_fit() -> None:
    rows: list[list[object]] = [["start-mean", 768, 1.0, 176.9289, 1.0, 1.0, None, None, "collapsed"]]
    rows.append(["start-text-lstsq", 768, 146.7784, 176.9289, 1.2204, 0.8056, -0.0155, -0.0408, "grounded"])
    columns = ["checkpoint", "tokens", *FIGURES, "verdict"]
    wide, narrow = drawn(columns, rows, 120), drawn(columns, rows, 80)
    assert max(map(len, narrow)) <= 80 and max(map(len, wide)) <= 120
    assert any("start-mean" in line and "collapsed" in line for line in wide)
    line = next(line for line in narrow if line.startswith("│ effective rank"))
    assert line.split("│")[2:4] == ["     1.0000 ", "         146.7784 "]
    for row in rows:
        for value in row:
            assert cell(value) in "\n".join(narrow)


NAMES: list[list[object]] = [["diagnostics/start-mean-and-text", "semantic_ids, interactions.parquet", 0.5]] * 9


def test_no_word_is_broken_where_it_need_not_be() -> None:
    """Folded where there is a space, though the names are the widest."""
    lines = drawn(["artifact", "from", "seconds"], NAMES, 72)
    assert max(map(len, lines)) <= 72
    assert sum("diagnostics/start-mean-and-text" in line for line in lines) == 9
    assert sum("interactions.parquet" in line for line in lines) == 9


@pytest.mark.parametrize(
    ("width", "left"), [(1 << 16, [0, 1, 2]), (68, [0, 1, 2]), (67, [0, 1]), (58, [0, 1]), (57, [0]), (20, [0])]
)
def test_spare_columns_go_before_words_are_broken(width: int, left: list[int]) -> None:
    columns = ["artifact", "from", "seconds"]
    assert columns_that_fit(columns, NAMES, ["seconds", "from"], width) == left
    assert columns_that_fit(columns, NAMES, [], width) == [0, 1, 2]


def test_long_words_give_way_where_many_rows_cannot_be_turned() -> None:
    rows: list[list[object]] = [["diagnostics/start-mean", "semantic_ids, interactions.parquet", 0.5]] * 9
    lines = drawn(["artifact", "from", "seconds"], rows, 40)
    assert max(map(len, lines)) <= 40 and "\n".join(lines).count("0.5000") == 9


def test_what_cannot_fit_is_wider_and_whole() -> None:
    lines = drawn([f"c{i}" for i in range(20)], [[1.5] * 20 for _ in range(9)], 80)
    assert sum(line.count("1.5000") for line in lines) == 180


@given(
    names=st.lists(st.text("abc d", min_size=1, max_size=20), min_size=1, max_size=6),
    data=st.data(),
    width=st.integers(10, 120),
)
def test_widths(names: list[str], data: st.DataObject, width: int) -> None:
    line = st.lists(st.text("xy z\n", max_size=30), min_size=len(names), max_size=len(names))
    rows = data.draw(st.lists(line, max_size=4))
    figures = data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    natural = column_widths(names, rows, figures, None)
    found = column_widths(names, rows, figures, width)
    assert natural is not None
    for i, figure in enumerate(figures):
        cells = [part for row in rows for part in row[i].splitlines()]
        assert natural[i] >= max(map(len, [names[i], *cells]))
        words = [len(word) for part in cells for word in part.split()]
        least = max(map(len, cells), default=0) if figure else min(max(words, default=0), LONGEST_WORD)
        assert found is None or natural[i] >= found[i] >= max(least, *map(len, names[i].split() or [""]))
    if found is not None:
        assert sum(found) + 3 * len(names) + 1 <= width or found == natural
        if sum(natural) + 3 * len(names) + 1 <= width:
            assert found == natural


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (True, "yes"),
        (1234567, "1,234,567"),
        (0.12345, "0.1235"),
        (1e-5, "1e-05"),
        (0.0, "0.0000"),
        ("a", "a"),
    ],
)
def test_cells(value: object, shown: str) -> None:
    assert cell(value) == shown
