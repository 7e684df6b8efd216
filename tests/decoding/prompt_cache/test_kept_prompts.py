"""The cache of prompts against trying all that are kept."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.decoding.prompt_cache import kept_prompts
from gti_cli.decoding.prompt_cache.kept_prompts import KeptPrompts, KeyValues

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=7)


def entry(tokens: list[int], value: float = 0.0) -> KeyValues:
    """Keys and values of as many tokens, 8 bytes each."""
    tensor = torch.full((1, len(tokens), 1, 1), value)
    return KeyValues(tensor, tensor)


@given(st.lists(st.tuples(st.integers(0, 1), TOKENS), max_size=12), st.integers(0, 1), TOKENS)
def test_the_prompt_that_shares_most_is_found(
    kept: list[tuple[int, list[int]]], prefix: int, wanted: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept_prompts, "FEW", 3)
        check_search(kept, prefix, wanted)


def check_search(kept: list[tuple[int, list[int]]], prefix: int, wanted: list[int]) -> None:
    cache = KeptPrompts(1 << 20)
    for number, (place, tokens) in enumerate(kept):
        cache.keep(place, tokens, entry(tokens, number))

    def shared(tokens: list[int]) -> int:
        return next(
            (n for n, (a, b) in enumerate(zip(tokens, wanted, strict=False)) if a != b), min(len(tokens), len(wanted))
        )

    best = max((shared(tokens) for place, tokens in kept if place == prefix), default=0)
    known = min(best, len(wanted) - 1)
    found = cache.find(prefix, wanted)
    used = cache.take_use()
    if known < 2 or (2 * known < len(wanted) and len(wanted) - known > 3):
        assert found is None and (used.none, used.tokens_read) == (1, len(wanted))
    else:
        assert found is not None and found[1] == known
        place, tokens = kept[int(found[0].keys[0, 0, 0, 0])]
        assert place == prefix and shared(tokens) >= known
        assert (used.whole, used.part) == ((1, 0) if (prefix, wanted) in kept else (0, 1)) or best == len(wanted)
        assert (used.tokens_kept, used.tokens_read) == (known, len(wanted) - known)
    assert cache.take_use().tokens_read == 0


def test_the_least_recently_used_is_given_up_first() -> None:
    cache = KeptPrompts(100)  # room for twelve tokens
    for tokens in ([1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]):
        cache.keep(0, tokens, entry(tokens))
    assert (len(cache), cache.bytes) == (3, 96)
    assert cache.find(0, [1, 1, 1, 1]) is not None  # used again, so 2 is now the oldest
    cache.keep(0, [4, 4], entry([4, 4]))
    assert (len(cache), cache.bytes) == (3, 80)
    assert cache.find(0, [2, 2, 2, 2]) is None
    assert all(cache.find(0, [n, n, n, n]) is not None for n in (1, 3)) and cache.knows(0, [4, 4])
    cache.keep(0, [9] * 20, entry([9] * 20))  # larger than the whole cache
    assert len(cache) == 3 and not cache.knows(0, [9] * 20)
