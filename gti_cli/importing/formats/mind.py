"""MIND, the news data of Microsoft: ``behaviors.tsv`` and ``news.tsv``, without headers."""

from __future__ import annotations

from datetime import datetime, timezone

from gti_cli.errors import InputError
from gti_cli.importing.formats.base import Advance, Files, Format, named, need_one
from gti_cli.importing.gather import ImportedData, add_in_order
from gti_cli.importing.records import fields

_TIME = "%m/%d/%Y %I:%M:%S %p"


def _read(files: Files, data: ImportedData, advance: Advance) -> None:
    """Clicks of a user: first the history, whose clicks have no times, then those of the impressions in time order."""
    file = need_one(files, "MIND", "behaviors.tsv")
    histories: dict[str, list[str]] = {}
    clicks: dict[str, list[tuple[int, int, list[str]]]] = {}
    for line, (_, user, time, history, shown, *_rest) in fields(file, "\t", 5):
        try:
            moment = datetime.strptime(time.strip(), _TIME).replace(tzinfo=timezone.utc)
        except ValueError as cause:
            raise InputError(
                f"the time {time!r} is not written as 11/13/2019 8:36:57 AM",
                where=file.where(line),
                remedy="download the file again, or name its --format",
            ) from cause
        # Every impression of a user repeats the history; the longest is the latest.
        if len(before := history.split()) >= len(histories.setdefault(user, [])):
            histories[user] = before
        clicked = [entry.rpartition("-")[0] for entry in shown.split() if entry.endswith("-1")]
        clicks.setdefault(user, []).append((int(moment.timestamp()), line, clicked))
        advance(1)
    for user, impressions in clicks.items():
        later = [item for _, _, clicked in sorted(impressions) for item in clicked]
        add_in_order(data.log, user, [*histories[user], *later])
    data.notes.append("clicks of a history have no times in MIND: a user's clicks are numbered in their order")
    for texts in named(files, "news.tsv"):
        for _, (item, category, sub_category, title, abstract, *_more) in fields(texts, "\t", 5):
            data.items.add(item, {"title": title, "description": abstract, "categories": [category, sub_category]})
            advance(1)


FORMATS = (Format("mind", "MIND", lambda files: bool(named(files, "behaviors.tsv")), _read),)
