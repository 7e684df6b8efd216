"""Prompts whose keys and values are kept, the least recently used given up first, and found by what they begin with.

A prompt that comes again, or one that goes on where a kept prompt ended, is read from there on. In an order of all kept
prompts by their tokens, the neighbours of a prompt share the most tokens with it: so it is found without trying all.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch

Key = tuple[int, ...]
FEW = 16  # tokens: an item and the end of a prompt have fewer, so that a history that goes on by an item is found


@dataclass(frozen=True)
class KeyValues:
    """Keys and values of T tokens of one prompt, of all layers.

    Attributes:
        keys: (layers, T, heads, width of a key).
        values: (layers, T, heads, width of a value).
    """

    keys: torch.Tensor
    values: torch.Tensor

    @property
    def bytes(self) -> int:
        """Memory of both."""
        return self.keys.nbytes + self.values.nbytes


@dataclass
class CacheUse:
    """What a cache of prompts was good for.

    Attributes:
        whole: Prompts that were there as a whole.
        part: Prompts of which the beginning was there.
        none: Prompts that were read in full.
        tokens_kept: Tokens that the model did not have to read again.
        tokens_read: Tokens that it read, without the template prefix.
    """

    whole: int = 0
    part: int = 0
    none: int = 0
    tokens_kept: int = 0
    tokens_read: int = 0


class KeptPrompts:
    """A cache of prompts, bounded in bytes. One thread at a time may use it.

    Attributes:
        used: What it was good for since `take_use` was called.
        bytes: Memory that the kept prompts take.
    """

    def __init__(self, most_bytes: int) -> None:
        """Make an empty cache of at most ``most_bytes``."""
        self.used, self.bytes, self._most = CacheUse(), 0, most_bytes
        self._kept: OrderedDict[Key, KeyValues] = OrderedDict()  # the least recently used first
        self._sorted: list[Key] = []
        self._counting = threading.Lock()

    def __len__(self) -> int:
        """Return the number of kept prompts."""
        return len(self._kept)

    def take_use(self) -> CacheUse:
        """Return what the cache was good for since the last call. Another thread may call it while the cache works."""
        with self._counting:
            used, self.used = self.used, CacheUse()
            return used

    def find(self, prefix: int, rest: Sequence[int]) -> tuple[KeyValues, int] | None:
        """Find the kept prompt that shares the most tokens with a prompt.

        Args:
            prefix: Number of the template prefix that both begin with.
            rest: The tokens behind the template prefix.

        Returns:
            Keys and values, and how many of their first tokens are those of ``rest``, one fewer than it has at most:
            the model must read at least one token, to say what follows. None where they are fewer than half of it,
            and more than a few are left: reading it apart from the others would gain nothing.
        """
        wanted = (prefix, *rest)
        place = bisect_left(self._sorted, wanted)
        around = self._sorted[max(place - 1, 0) : place + 1]
        shared, best = max(((_common(wanted, key), key) for key in around), default=(0, ()))
        known = min(shared - 1, len(rest) - 1)  # the first entry of a key is the number of the template prefix
        is_known = known >= 2 and (2 * known >= len(rest) or len(rest) - known <= FEW)
        with self._counting:
            self.used.none += not is_known
            self.used.whole += is_known and shared == len(wanted)
            self.used.part += is_known and shared < len(wanted)
            self.used.tokens_kept += known if is_known else 0
            self.used.tokens_read += len(rest) - (known if is_known else 0)
        if not is_known:
            return None
        self._kept.move_to_end(best)
        return self._kept[best], known

    def knows(self, prefix: int, rest: Sequence[int]) -> bool:
        """Whether a prompt is kept as a whole."""
        return (prefix, *rest) in self._kept

    def keep(self, prefix: int, rest: Sequence[int], entry: KeyValues) -> None:
        """Keep the keys and values of the tokens behind a template prefix; give up others where it gets too much."""
        key = (prefix, *rest)
        if key in self._kept or entry.bytes > self._most:
            return
        self._kept[key] = entry
        insort(self._sorted, key)
        self.bytes += entry.bytes
        while self.bytes > self._most:
            oldest, given_up = self._kept.popitem(last=False)
            del self._sorted[bisect_left(self._sorted, oldest)]
            self.bytes -= given_up.bytes


def _common(first: Key, second: Key) -> int:
    """Number of entries that both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
