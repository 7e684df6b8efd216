from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.semantic_ids.groups import first_equal_rows, members, tuple_labels


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 80), levels=st.integers(0, 5), most=st.integers(1, 4), seed=st.integers(0, 9))
def test_tuple_labels_are_those_of_numpy(n: int, levels: int, most: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(most, size=(n, levels)).astype(np.int32)
    labels = tuple_labels(codes)
    if levels:
        np.testing.assert_array_equal(labels, np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1))
    else:
        assert not labels.any()
    assert sorted(np.concatenate(members(labels)).tolist()) == list(range(n))


def test_large_codes_do_not_overflow() -> None:
    codes = np.full((3, 20), 2**30, dtype=np.int32)
    codes[1, 19] -= 1
    assert tuple_labels(codes).tolist() == [1, 0, 1]


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 60), width=st.integers(1, 6), distinct=st.integers(1, 20), seed=st.integers(0, 9))
def test_first_equal_rows_is_the_first_equal_row(n: int, width: int, distinct: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-1, 2, size=(distinct, width)).astype(np.float32)[rng.integers(distinct, size=n)]
    vectors[rng.random((n, width)) < 0.1] *= np.float32(-0.0) if seed % 2 else np.float32(1)
    expected = [next(j for j in range(i + 1) if (vectors[j] == vectors[i]).all()) for i in range(n)]
    assert first_equal_rows(vectors).tolist() == expected


def test_different_rows_of_one_hash_are_kept_apart() -> None:
    from gti_cli.semantic_ids import groups

    vectors = np.array([[1, 2], [3, 4], [1, 2], [3, 4], [5, 6]], dtype=np.float32)
    first = np.arange(5, dtype=np.int64)
    groups._compare(vectors, np.arange(5), first)
    assert first.tolist() == [0, 1, 0, 1, 4]
