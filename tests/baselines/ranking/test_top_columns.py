"""The best columns against a sort, with rows that are looked at as a whole and rows that are looked at in blocks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gti_cli.baselines.ranking.top_columns import top_columns

SCORES = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(1, 70)), elements=st.sampled_from([-np.inf, 0, 1, 2, 3])
)


@given(SCORES, st.integers(1, 12))
def test_they_are_a_stable_sort(scores: np.ndarray, k: int) -> None:
    for row, columns in zip(scores, top_columns(scores, k), strict=True):
        order = [column for column in sorted(range(len(row)), key=lambda n: -row[n]) if np.isfinite(row[column])][:k]
        assert columns.tolist() == order + [-1] * (k - len(order))
