"""Requests as lines of JSON in, answers as lines of JSON out, one for each, in their order: for a pipe or a queue.

Lines are answered as they come. Those that wait while others are answered are answered together.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from gti_cli.errors import InputError, list_names
from gti_cli.recommender.recommender import Recommender
from gti_cli.recommender.results import RecommendedList
from gti_cli.recommender.settings import ListSettings

FIELDS = ("history", "query", "id", "k", "exclude", "only", "filter_seen")
NumberedLine = tuple[int, bytes]


@dataclass(frozen=True)
class LineDefaults:
    """What holds for a line that does not say otherwise.

    Attributes:
        settings: Length of the lists, and how to search.
        exclude: Item ids that no list has, whatever its line says.
        only: The only item ids that lists have, whatever their lines say. None: all.
        filter_seen: Whether to leave out the items of the history.
    """

    settings: ListSettings
    exclude: frozenset[str] = frozenset()
    only: frozenset[str] | None = None
    filter_seen: bool = False


@dataclass(frozen=True)
class LineRequest:
    """The request of a line.

    Attributes:
        history: Item ids, oldest first. None: a query.
        query: Words. None: a history.
        settings: Length of the list, and how to search.
        exclude: Item ids that the list must not have.
        only: The only item ids that it may have. None: all.
        filter_seen: Whether to leave out the items of the history.
    """

    history: list[str] | None
    query: str | None
    settings: ListSettings
    exclude: frozenset[str]
    only: frozenset[str] | None
    filter_seen: bool


def waiting_lines(stream: Iterable[bytes], most: int) -> Iterator[list[NumberedLine]]:
    """Read lines in a thread, and return those that are there: at least one, at most ``most``.

    Args:
        stream: Lines, such as ``sys.stdin.buffer``.
        most: Lines to be answered together. It changes the speed, and scores by rounding alone.

    Yields:
        Lines with their numbers, from 1. Empty lines are left out.
    """
    lines: queue.Queue[NumberedLine | BaseException | None] = queue.Queue(maxsize=4 * most)

    def read() -> None:
        """Put every line with its number into the queue; then None, or the error that ended the reading."""
        try:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    lines.put((number, line))
        except BaseException as error:
            lines.put(error)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()  # it may wait for a line for ever
    while True:
        batch, following = [], lines.get()
        while isinstance(following, tuple):
            batch.append(following)
            if len(batch) == most:
                break
            try:
                following = lines.get_nowait()
            except queue.Empty:
                break
        if batch:
            yield batch
        if isinstance(following, BaseException):
            raise following
        if following is None:
            return


def answer_lines(
    recommender: Recommender, lines: Sequence[NumberedLine], defaults: LineDefaults
) -> list[dict[str, Any]]:
    """Answer some lines together.

    Args:
        recommender: Gives the lists.
        lines: Lines with their numbers.
        defaults: What holds for a line that does not say otherwise.

    Returns:
        For each line ``line`` and the ``id`` that it gave, then ``items``, ``proven`` and ``cut`` as in
        `RecommendedList`; or ``error`` with what is wrong with it.
    """
    answers: list[dict[str, Any]] = []
    requests: dict[int, LineRequest] = {}
    for place, (number, line) in enumerate(lines):
        answers.append({"line": number})
        try:
            values = _as_object(line)
            if "id" in values:
                answers[place]["id"] = values["id"]
            request = read_request(values, defaults)
            recommender.check(
                **_asked([request]),
                exclude=[request.exclude],
                only=[request.only],
                max_history=request.settings.max_history,
            )
            requests[place] = request
        except InputError as error:
            answers[place]["error"] = str(error)
    groups: dict[tuple[bool, ListSettings], list[int]] = {}
    for place, request in requests.items():
        groups.setdefault((request.history is None, request.settings), []).append(place)
    for (_, settings), places in groups.items():
        for place, found in zip(places, _lists(recommender, [requests[p] for p in places], settings), strict=True):
            answers[place].update(asdict(found))
    return answers


def _lists(recommender: Recommender, group: Sequence[LineRequest], settings: ListSettings) -> list[RecommendedList]:
    return recommender.recommend(
        **_asked(group),
        **asdict(settings),
        exclude=[request.exclude for request in group],
        only=[request.only for request in group],
        filter_seen=[request.filter_seen for request in group],
    )


def _asked(group: Sequence[LineRequest]) -> dict[str, Any]:
    """The histories or the queries of requests of one kind, as keywords."""
    histories = [request.history for request in group if request.history is not None]
    return {"histories": histories} if histories else {"queries": [request.query for request in group]}


def _as_object(line: bytes) -> dict[str, Any]:
    """The JSON object of a line.

    Raises:
        InputError: When it is none.
    """
    try:
        values = json.loads(line.decode("utf-8-sig"))
        # Python reads what is no JSON, such as NaN, and halves of letters (surrogates). Neither can be answered.
        json.dumps(values, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputError(f"this is no JSON ({error})", remedy='write {"history": ["A", "B"]} on one line') from None
    if not isinstance(values, dict):
        raise InputError("this is no JSON object", remedy='write {"history": ["A", "B"]} on one line')
    return values


def read_request(values: dict[str, Any], defaults: LineDefaults) -> LineRequest:
    """Check the types of a request, and fill in the defaults.

    Args:
        values: The JSON object of a line.
        defaults: What holds where it does not say otherwise.

    Raises:
        InputError: When a field is unknown or of another type, or there is not exactly one of history and query.
    """
    unknown = [name for name in values if name not in FIELDS]
    if unknown:
        raise InputError(
            f"unknown {'field' if len(unknown) == 1 else 'fields'}: {list_names([name[:100] for name in unknown])}",
            remedy=f"use {', '.join(FIELDS)}",
        )
    given = {name: value for name, value in values.items() if value is not None}
    if ("history" in given) == ("query" in given):
        problem = (
            "a history and a query are given at once" if "query" in given else "it is not said for whom to recommend"
        )
        raise InputError(problem, remedy="give history or query")
    k, query, seen = given.get("k", defaults.settings.k), given.get("query"), given.get("filter_seen")
    if not isinstance(k, int) or isinstance(k, bool):
        raise InputError("k is no whole number", remedy="write 10, without quotes")
    if query is not None and not isinstance(query, str):
        raise InputError("query is no text", remedy='write "red dress"')
    if seen is not None and not isinstance(seen, bool):
        raise InputError("filter_seen is neither true nor false", remedy="write true or false, without quotes")
    settings = replace(defaults.settings, k=k)
    settings.check()
    exclude = frozenset(_item_ids(given, "exclude"))
    only = frozenset(_item_ids(given, "only")) if "only" in given else None
    if only is not None and defaults.only is not None:
        only &= defaults.only
    return LineRequest(
        _item_ids(given, "history") if "history" in given else None,
        query,
        settings,
        defaults.exclude | exclude if exclude else defaults.exclude,
        only if only is not None else defaults.only,
        defaults.filter_seen if seen is None else seen,
    )


def _item_ids(given: dict[str, Any], name: str) -> list[str]:
    """A list of item ids; whole numbers count as text, as in tables.

    Raises:
        InputError: When it is something else.
    """
    items = given.get(name, [])
    if not isinstance(items, list) or not all(
        isinstance(item, (str, int)) and not isinstance(item, bool) for item in items
    ):
        raise InputError(f"{name} is no list of item ids", remedy=f'write "{name}": ["A", "B"]')
    return [str(item) for item in items]
