"""Python's search for cyclic garbage, held back while a command imports its libraries.

Importing torch and transformers makes 400,000 objects that live as long as the process. Python would look through all
of them again and again while they are made, which takes a tenth of the time until a command trains or searches; and
once more whenever a library asks for a search, as the Trainer does.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# A search among the newest objects after so many, and one that includes older objects after so many of these. Python's
# own numbers are 700 (later versions: 2,000) and 10.
_NEW_OBJECTS, _SEARCHES = 100_000, 1_000
_waiting: list[Callable[[], None]] = []  # what `settle` has to do, in a process that is ours alone


def hold_back() -> None:
    """Search seldom until `settle` is called; for a process that is ours alone."""
    usual = gc.get_threshold()
    gc.set_threshold(_NEW_OBJECTS, _SEARCHES, usual[2])

    def search_as_usual() -> None:
        """Leave the libraries out of all searches, and search as often as usual."""
        gc.freeze()
        gc.set_threshold(*usual)

    _waiting[:] = [search_as_usual]


def settle() -> None:
    """End what `hold_back` has begun; without it, and from the second call on, nothing is done.

    It is called before the first model is made. What exists then stays out of all searches: the libraries, and tables,
    which are freed as before when nothing refers to them. A model may be part of a cycle, so it must not be among them.
    """
    while _waiting:
        _waiting.pop()()
