from hypothesis import given
from hypothesis import strategies as st

from gti_cli.geometry.sampling import draw_at_most, evenly


@given(st.integers(1, 10**6), st.integers(1, 300))
def test_distinct_within_and_as_many_as_asked(size, most):
    found = evenly(size, most)
    assert len(found) == min(size, most)
    assert (found >= 0).all()
    assert (found < size).all()


def test_known():
    assert evenly(3, 10).tolist() == [0, 1, 2]
    assert evenly(101, 3).tolist() == [0, 50, 100]


@given(st.lists(st.integers(), max_size=30), st.integers(0, 30), st.integers(0, 5))
def test_draws_keep_their_order_and_repeat(values: list[int], most: int, seed: int) -> None:
    numbered = list(enumerate(values))
    drawn = draw_at_most(numbered, most, seed)
    assert drawn == draw_at_most(numbered, most, seed) == sorted(drawn)
    assert len(set(drawn)) == len(drawn) == min(most, len(values)) and set(drawn) <= set(numbered)
