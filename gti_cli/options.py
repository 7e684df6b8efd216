"""One place for each option: a field of a frozen dataclass, with its default and its line of help.

A command shows such a dataclass as options (`gti_cli.commands.options.expanded`), a stage takes the same names as
keywords, checked by a TypedDict that stands beside the dataclass, and builds it from them (`pick`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypedDict, TypeVar

from gti_cli.errors import InputError

T = TypeVar("T")


def option(default: Any, help: str, *, flag: str | None = None, shown: str | None = None, written: Any = None) -> Any:
    """A field of an options dataclass.

    Args:
        default: its value where nothing is given. help: one line.
        flag: its name on the command line (None: the field's, with hyphens). A boolean that is true by default is
            turned off there, so it needs one: ``--no-...``.
        shown: the default in words, where the value itself says nothing (None).
        written: its type on the command line where that is another; tuples are written with commas anyway.
    """
    return field(default=default, metadata={"help": help, "flag": flag, "shown": shown, "written": written})


def pick(kind: type[T], values: Mapping[str, Any]) -> T:
    """An options dataclass from those of the keywords ``values`` that it knows; the others are another one's."""
    names = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in values.items() if name in names})


def changed(options: Any) -> dict[str, Any]:
    """The fields of an options dataclass that are not as they are by default."""
    return {
        entry.name: getattr(options, entry.name)
        for entry in fields(options)
        if getattr(options, entry.name) != entry.default
    }


def refuse_unknown(values: Mapping[str, Any], *kinds: type) -> None:
    """Keywords that no dataclass of ``kinds`` has, refused as Python refuses an argument that a function lacks.

    Raises:
        TypeError: naming them.
    """
    known = {entry.name for kind in kinds for entry in fields(kind)}
    unknown = [name for name in values if name not in known]
    if unknown:
        raise TypeError(f"no option is called {', '.join(unknown)}; there are {', '.join(sorted(known))}")


def check_seed(seed: int) -> None:
    """Refuse a seed that not every generator of random numbers takes.

    Raises:
        InputError: it is negative, or 2**32 or more.
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed} is out of range", remedy=f"give a whole number from 0 to {2**32 - 1}")


@dataclass(frozen=True)
class RunOptions:
    """What every stage takes.

    Attributes:
        seed: of everything random. device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: ``auto``, ``float32`` or ``bfloat16``. force: replace a finished output that was made otherwise.
        resume: go on with interrupted work.

    Raises:
        InputError: a seed out of range (see `check_seed`).
    """

    seed: int = option(0, "Seed of everything random.")
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps.")
    dtype: str = option("auto", "auto, float32 or bfloat16.")
    force: bool = option(False, "Replace a finished output made otherwise.")
    resume: bool = option(True, "Start over instead of resuming interrupted work.", flag="--no-resume")

    def __post_init__(self) -> None:
        check_seed(self.seed)


class RunKeywords(TypedDict, total=False):
    """`RunOptions` as keywords."""

    seed: int
    device: str
    dtype: str
    force: bool
    resume: bool
