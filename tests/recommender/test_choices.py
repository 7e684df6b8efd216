"""Allow and deny lists of a call against sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.recommender.choices import allowed_items

ROW_OF = {f"i{row}": row for row in range(6)}
SETS = st.frozensets(st.sampled_from(sorted(ROW_OF)), max_size=4)


@given(st.lists(st.tuples(SETS, st.none() | SETS), min_size=1, max_size=5))
def test_each_request_has_its_own(pairs: list[tuple[frozenset[str], frozenset[str] | None]]) -> None:
    expected = [(set(ROW_OF) if only is None else set(only)) - exclude for exclude, only in pairs]
    exclude, only = [list(exclude) for exclude, _ in pairs], [only for _, only in pairs]
    if not all(expected):
        with pytest.raises(InputError, match="leave no item to recommend"):
            allowed_items(ROW_OF, len(pairs), exclude, only)
        return
    found = allowed_items(ROW_OF, len(pairs), exclude, only)
    if found is None:
        assert expected == [set(ROW_OF)] * len(pairs)
        return
    assert [{f"i{row}" for row in np.flatnonzero(found.of(n).mask())} for n in range(len(pairs))] == expected
    assert len(found.choices) == len(set(pairs))  # one for each different choice


def test_one_for_all() -> None:
    found = allowed_items(ROW_OF, 3, {"i1"}, ["i1", "i2"])
    assert found is not None and len(found.choices) == 1 and found.of(0).items == 6
    assert [np.flatnonzero(found.of(n).mask()).tolist() for n in range(3)] == [[2]] * 3
    assert allowed_items(ROW_OF, 3) is None and allowed_items(ROW_OF, 2, [[], []], [None, None]) is None


@pytest.mark.parametrize(
    ("given_lists", "said"),
    [
        ({"exclude": "i1"}, "exclude is no list of item ids"),
        ({"exclude": ["i1", ["i2"]]}, "exclude is no list"),
        ({"exclude": [["i1"], ["i2"], []]}, "exclude has 3 lists for 2 requests"),
        ({"only": [["i1"]]}, "only has 1 lists for 2 requests"),
        ({"only": ["i9"]}, "the catalogue does not have: 'i9'"),
        ({"only": []}, "leave no item"),
    ],
)
def test_refused(given_lists: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        allowed_items(ROW_OF, 2, **given_lists)
