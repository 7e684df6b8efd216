"""What an import has read so far: interactions as arrays of numbers, texts of items by column."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gti_cli.errors import InputError
from gti_cli.importing.texts import category_path, has_html, plain_text
from gti_cli.importing.times import PER_SECOND, POSITIONS, SECONDS, unit_of

NO_RATING = float("nan")


def id_text(value: object) -> str:
    """An id as text; a whole number that the source has as a fraction (``7.0``) is written without it.

    Args:
        value: The id.
    """
    if type(value) is str:
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


class InteractionLog:
    """Interactions in the order in which they were read, 24 bytes each beside the ids.

    Attributes:
        users: Number of each user id, in order of first appearance.
        items: Number of each item id, likewise.
        unit: What the times are: ``seconds``, ``milliseconds`` or ``positions``.
        dropped: How many records could not be used, by reason.
    """

    def __init__(self) -> None:
        self.users: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self.unit = SECONDS
        self.dropped: Counter[str] = Counter()
        self._user, self._item = array("i"), array("i")
        self._time: array[Any] = array("q")  # of doubles from the first time on that is none whole
        self._rating = array("d")

    def __len__(self) -> int:
        return len(self._user)

    def add(self, user: object, item: object, time: float, rating: float = NO_RATING) -> None:
        """Append one interaction.

        Args:
            user: Id of the user.
            item: Id of the item.
            time: When, in `unit`.
            rating: The user's rating, if the source has one.
        """
        self._user.append(self.users.setdefault(id_text(user), len(self.users)))
        self._item.append(self.items.setdefault(id_text(item), len(self.items)))
        try:
            self._time.append(time)
        except TypeError:  # this array holds integers, and the time is a float
            self._time = array("d", self._time)
            self._time.append(time)
        self._rating.append(rating)

    def columns(self) -> ImportedInteractions:
        """All interactions as arrays; the log is empty afterwards, so that nothing is in memory twice.

        Times with fractions become whole numbers of the largest unit that loses nothing (milliseconds, for example).
        Where the source does not say the unit, the size of the numbers does: 1600000000000 are milliseconds.

        Returns:
            The interactions.
        """
        times, unit = _whole_times(_as_array(self._time, self._time.typecode), self.unit)
        interactions = ImportedInteractions(
            list(self.users),
            list(self.items),
            _as_array(self._user, np.int32),
            _as_array(self._item, np.int32),
            times,
            _as_array(self._rating, np.float64),
            unit,
        )
        self._user, self._item, self._time, self._rating = array("i"), array("i"), array("q"), array("d")
        return interactions


def _as_array(numbers: array[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A numpy view of an array; nothing is copied."""
    return np.frombuffer(numbers, dtype) if len(numbers) else np.empty(0, dtype)


def _whole_times(times: npt.NDArray[Any], unit: str) -> tuple[npt.NDArray[np.int64], str]:
    """Times as whole numbers, and their unit.

    Args:
        times: (N,) int64 or float64.
        unit: What the source says that they are; ``seconds`` also where it says nothing.
    """
    if not len(times) or unit == POSITIONS:
        return times.astype(np.int64, copy=False), unit
    if unit == SECONDS:
        unit = unit_of(float(np.median(times)))
    if times.dtype == np.int64 or bool((times == np.floor(times)).all()):
        return times.astype(np.int64, copy=False), unit
    largest = float(np.abs(times).max())
    finer_units = list(PER_SECOND)[list(PER_SECOND).index(unit) :]
    for finer in finer_units:
        factor = PER_SECOND[finer] / PER_SECOND[unit]
        if largest * factor * 1000 >= 2.0**63:  # the next unit does not fit in 64 bits
            break
        # What a double cannot hold is no fraction of the unit.
        if bool((np.abs(times * factor - np.round(times * factor)) <= np.spacing(largest) * factor).all()):
            break
    return np.round(times * factor).astype(np.int64), finer


@dataclass(frozen=True)
class ImportedInteractions:
    """Interactions as arrays.

    Attributes:
        user_ids: The U user ids.
        item_ids: The I item ids.
        user: (N,) int32 number of each interaction's user.
        item: (N,) int32 number of its item.
        time: (N,) int64 its time.
        rating: (N,) float64 its rating; NaN where there is none.
        unit: What the times are.
    """

    user_ids: list[str]
    item_ids: list[str]
    user: npt.NDArray[np.int32]
    item: npt.NDArray[np.int32]
    time: npt.NDArray[np.int64]
    rating: npt.NDArray[np.float64]
    unit: str

    def __len__(self) -> int:
        return len(self.user)

    def rows(self, chosen: npt.NDArray[Any]) -> ImportedInteractions:
        """Some of the interactions, in their order.

        Args:
            chosen: (N,) bool mask, or row numbers.

        Returns:
            These interactions, with all ids as they were.
        """
        return ImportedInteractions(
            self.user_ids,
            self.item_ids,
            self.user[chosen],
            self.item[chosen],
            self.time[chosen],
            self.rating[chosen],
            self.unit,
        )


@dataclass
class ItemTexts:
    """Texts of items, by column.

    Attributes:
        rows: Row of each item id.
        columns: Texts by column name; all columns are equally long.
        repeated: How many records named an item that was there already; the first one counts.
        with_html: How many titles held HTML, which was taken out.
    """

    rows: dict[str, int] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)
    repeated: int = 0
    with_html: int = 0

    def add(self, item: object, texts: Mapping[str, Any]) -> None:
        """Add an item.

        Args:
            item: Its id.
            texts: Its texts by column name, as the source has them. ``categories`` becomes a path.
        """
        name = id_text(item)
        if name in self.rows:
            self.repeated += 1
            return
        row = self.rows[name] = len(self.rows)
        self.with_html += has_html(texts.get("title"))
        for column, value in texts.items():
            values = self.columns.setdefault(column, [])
            values += [""] * (row - len(values))
            values.append(category_path(value) if column == "categories" else plain_text(value))
        for values in self.columns.values():
            values += [""] * (row + 1 - len(values))


@dataclass
class ImportedData:
    """All that a format's reader gathers.

    Attributes:
        log: The interactions.
        items: The items' texts.
        queries: Columns of the queries table; empty where the source has none.
        notes: Facts for the user, such as a file that was passed over.
    """

    log: InteractionLog = field(default_factory=InteractionLog)
    items: ItemTexts = field(default_factory=ItemTexts)
    queries: dict[str, list[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def number(value: object, what: str, where: str) -> float:
    """A number that a source has as text or as a number.

    Args:
        value: The value.
        what: What it is, for the error.
        where: Where it stands, for the error.

    Returns:
        The number.

    Raises:
        InputError: It is none, or not finite.
    """
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        result = math.nan
    if not math.isfinite(result):
        raise InputError(
            f"the {what} {value!r} is no number",
            where=where,
            remedy="correct or drop the line, or name the right --format",
        )
    return result


def add_in_order(log: InteractionLog, user: object, items: list[Any], start: int = 0) -> None:
    """Append a user's items whose order is known and whose times are not: their time is their position.

    Args:
        log: Where to append; its unit becomes positions.
        user: Id of the user.
        items: Ids of the items, in time order.
        start: Position of the first of them.
    """
    log.unit = POSITIONS
    for position, item in enumerate(items, start=start):
        log.add(user, item, position)
