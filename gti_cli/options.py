"""Options of the stages: each is a field of a frozen dataclass, with its default and its line of help.

The command line shows the fields of these dataclasses as options (`gti_cli.commands.options.expand_options`). The
functions of the stages take them as keywords and build the dataclasses with `pick`. Beside each dataclass stands a
TypedDict with the same names, from which type checkers and editors know the keywords.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypedDict, TypeVar

from gti_cli.errors import InputError

T = TypeVar("T")


def option(default: Any, help: str, *, flag: str | None = None, shown: str | None = None, written: Any = None) -> Any:
    """Make a field of an options dataclass.

    Args:
        default: The default value.
        help: One line for ``--help``.
        flag: The name on the command line; None means the name of the field with hyphens. Several names are separated
            by commas. A boolean that is true by default needs a flag that turns it off: ``--no-...``.
        shown: The default in words, if the value alone does not explain it.
        written: The type on the command line, if it differs from that of the field. Tuples of ``int`` and ``str`` are
            written with commas and need nothing here.
    """
    return field(default=default, metadata={"help": help, "flag": flag, "shown": shown, "written": written})


def pick(kind: type[T], values: Mapping[str, Any]) -> T:
    """Build an options dataclass from keywords.

    Args:
        kind: The dataclass.
        values: Keywords of a stage. Those that are no field of the dataclass are ignored, since a stage may have
            several dataclasses; `refuse_unknown` finds misspelled ones.
    """
    names = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in values.items() if name in names})


def changed(options: Any) -> dict[str, Any]:
    """Return the fields of an options dataclass that differ from their defaults."""
    return {
        entry.name: getattr(options, entry.name)
        for entry in fields(options)
        if getattr(options, entry.name) != entry.default
    }


def refuse_unknown(values: Mapping[str, Any], *kinds: type) -> None:
    """Refuse keywords that are no option, as Python refuses an unexpected argument.

    Args:
        values: The keywords.
        *kinds: The options dataclasses of the stage.

    Raises:
        TypeError: When a keyword is a field of none of them.
    """
    names = {entry.name for kind in kinds for entry in fields(kind)}
    unknown = [name for name in values if name not in names]
    if unknown:
        raise TypeError(f"no option is called {', '.join(unknown)}; there are {', '.join(sorted(names))}")


def check_seed(seed: int) -> None:
    """Refuse a seed that some random number generator does not take.

    Raises:
        InputError: When the seed is negative, or 2**32 or more.
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed} is out of range", remedy=f"give a whole number from 0 to {2**32 - 1}")


@dataclass(frozen=True)
class RunOptions:
    """The options that every stage takes.

    Attributes:
        seed: The seed of everything random.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: The number format of the model: ``auto``, ``float32`` or ``bfloat16``.
        force: Make a finished output again, also one that was made from other inputs or with other options.
        resume: Continue interrupted work.
        columns: What the columns of the tables are called, ``OURS=THEIRS`` with commas between.

    Raises:
        InputError: When the seed is out of range.
    """

    seed: int = option(0, "Seed of everything random.")
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps.")
    dtype: str = option("auto", "auto, float32 or bfloat16.")
    force: bool = option(False, "Make a finished output again, also one of other options or inputs.")
    resume: bool = option(True, "Start over instead of resuming interrupted work.", flag="--no-resume")
    columns: str | None = option(None, "Names of the tables' columns: user_id=reviewerID,item_id=asin,...")

    def __post_init__(self) -> None:
        check_seed(self.seed)


class RunKeywords(TypedDict, total=False):
    """`RunOptions` as keywords."""

    seed: int
    device: str
    dtype: str
    force: bool
    resume: bool
    columns: str | None


def refuse_without(options: Any, switch: str, names: Sequence[str]) -> None:
    """Refuse options that have an effect beside another one alone: a caller who gives one expects an effect.

    Args:
        options: A dataclass of options.
        switch: The option that the others need; it is off where its value is false.
        names: The others.

    Raises:
        InputError: When one of them is not its default, and the switch is off.
    """
    for name in names:
        if not getattr(options, switch) and getattr(options, name) != getattr(type(options), name):
            flag, needed = (f"--{one.replace('_', '-')}" for one in (name, switch))
            raise InputError(f"{flag} has no effect without {needed}", remedy=f"add {needed}, or leave it out")
