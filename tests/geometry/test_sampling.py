from hypothesis import given
from hypothesis import strategies as st

from gti_cli.geometry.sampling import evenly


@given(st.integers(1, 10**6), st.integers(1, 300))
def test_distinct_within_and_as_many_as_asked(size, most):
    found = evenly(size, most)
    assert len(found) == min(size, most)
    assert (found >= 0).all()
    assert (found < size).all()


def test_known():
    assert evenly(3, 10).tolist() == [0, 1, 2]
    assert evenly(101, 3).tolist() == [0, 50, 100]
