"""Figures of interactions against naive loops."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.importing.gather import InteractionLog
from gti_cli.importing.report import describe_interactions

ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=40)


@given(ROWS)
def test_equal_to_counting(rows: list[tuple[int, int, int]]) -> None:
    log = InteractionLog()
    for row in rows:
        log.add(*row)
    figures = describe_interactions(log.columns())
    lengths = list(Counter(user for user, _, _ in rows).values())
    pairs = {(user, item) for user, item, _ in rows}
    moments = Counter((user, time) for user, _, time in rows)
    users, items = len(lengths), len({item for _, item, _ in rows})
    assert figures == {
        "users": users,
        "items": items,
        "interactions": len(rows),
        "density": pytest.approx(len(pairs) / (users * items)),
        "history_min": min(lengths),
        "history_median": float(np.median(lengths)),
        "history_mean": pytest.approx(float(np.mean(lengths))),
        "history_max": max(lengths),
        "repeated_pairs": len(rows) - len(pairs),
        "repeated_rows": len(rows) - len(set(rows)),
        "equal_times": sum(count for count in moments.values() if count > 1),
    }


def test_no_interactions() -> None:
    assert describe_interactions(InteractionLog().columns()) == {"users": 0, "items": 0, "interactions": 0}
