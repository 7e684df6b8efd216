from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.tables.string_column import StringColumn, string_array

BOUND = st.none() | st.integers(-12, 12)


@given(texts=st.lists(st.text(max_size=3), max_size=10), chunk=st.integers(1, 4), start=BOUND, stop=BOUND, step=BOUND)
def test_used_like_a_list(texts: list[str], chunk: int, start: int | None, stop: int | None, step: int | None) -> None:
    chunks = [texts[first : first + chunk] for first in range(0, len(texts), chunk)]
    column = StringColumn(pa.chunked_array(chunks, pa.string()))
    assert list(column) == texts and column == texts and column != [*texts, "x"] and len(column) == len(texts)
    assert [column[row] for row in range(-len(texts), len(texts))] == texts + texts
    if step != 0:
        assert column[start:stop:step] == texts[start:stop:step]
    assert string_array(column).to_pylist() == string_array(texts).to_pylist() == texts
