"""A quick start of a command: nothing is done for the sake of what libraries could do and no command asks for.

All of it is for the command line, whose process is ours alone. In a notebook, say, the user's own code may need what is
left out here, so nothing is left out before `begin` is called.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

# A search for cyclic garbage among the newest objects after so many, and one that includes older objects after so many
# of these. Python's own numbers are 700 (later versions: 2,000) and 10.
_NEW_OBJECTS, _SEARCHES = 100_000, 1_000

_begun: list[bool] = []
_waiting: list[Callable[[], None]] = []  # what `settle` has to do


def begin() -> None:
    """Start quickly from here on; for a process that is ours alone.

    Importing torch and transformers makes 400,000 objects that live as long as the process. Python would look through
    all of them again and again while they are made, which takes a tenth of the time until a command trains or searches.
    So until `settle` is called it looks seldom.
    """
    _begun[:] = [True]
    if _waiting:  # begun before: the numbers of now are not the usual ones
        return
    usual = gc.get_threshold()
    gc.set_threshold(_NEW_OBJECTS, _SEARCHES, usual[2])

    def search_as_usual() -> None:
        """Leave the libraries out of all searches, and search as often as usual."""
        gc.freeze()
        gc.set_threshold(*usual)

    _waiting[:] = [search_as_usual]


def settle() -> None:
    """Let Python look for garbage as usual again; without `begin`, and from the second call on, nothing is done.

    It is called before the first model is made. What exists then stays out of all searches: the libraries, and tables,
    which are freed as before when nothing refers to them. A model may be part of a cycle, so it must not be among them.
    """
    while _waiting:
        _waiting.pop()()


class _NotInstalled:
    """A finder of modules that finds a package missing."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, *_: object) -> None:
        """Refuse the package, and leave other modules to the finders behind this one."""
        if name == self._package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@cache
def start_arrow() -> None:
    """Make pyarrow ready for arrays of numpy, before which it imports pandas, whose tables no command uses."""
    if not _begun:
        return
    finder = _NotInstalled("pandas")
    sys.meta_path.insert(0, finder)
    try:
        import pyarrow as pa

        pa.array([0]).to_numpy()
    finally:
        sys.meta_path.remove(finder)


def import_transformers(module: str, *unused: str) -> None:
    """Import a module of transformers as if packages that it imports for features of its own were not installed.

    Args:
        module: Such as ``transformers.trainer``.
        *unused: What it imports of them, such as ``datasets`` or ``scipy.optimize``. What is imported already costs
            nothing, and stays visible.
    """
    if not _begun or module in sys.modules:
        return
    importlib.import_module(
        "transformers.modeling_utils" if module != "transformers.modeling_utils" else "transformers"
    )
    with _unavailable([name.partition(".")[0] for name in unused if name not in sys.modules]):
        importlib.import_module(module)


@contextmanager
def _unavailable(packages: list[str]) -> Iterator[None]:
    """Inside the block, modules that transformers imports are told that packages are not installed."""
    import transformers.utils

    asked = {name: getattr(transformers.utils, name) for name in (f"is_{name}_available" for name in packages)}
    try:
        for name in asked:
            setattr(transformers.utils, name, lambda: False)
        yield
    finally:
        for name, function in asked.items():
            setattr(transformers.utils, name, function)
