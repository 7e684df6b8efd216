"""LC-Rec's tasks against loops over the tables they are made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gti_cli import tables
from gti_cli.prompts import lc_rec as kinds
from gti_cli.prompts.conversations import Conversation
from gti_cli.recommendation.lc_rec import make_text_catalogue, training_conversations
from gti_cli.recommendation.options import TaskOptions
from gti_cli.recommendation.task_data import TaskData, read_task_data
from gti_cli.recommendation.tasks import make_tasks
from gti_cli.workspace import Workspace
from tests.support.models import make_tokenizer


def with_texts(world: Any) -> Path:
    """Interactions whose every third row has an intent, and every fifth a preference."""
    table = tables.read(world.interactions).to_pydict()
    rows = range(len(table["user_id"]))
    table["intent"] = [f"looking for {n}" if n % 3 == 0 else None for n in rows]
    table["preference"] = [f"likes {n}" if n % 5 == 0 else "" for n in rows]
    path = world.interactions.with_name("texts.parquet")
    tables.write(path, table)
    return path


def conversations_of(data: TaskData, most: int = 128) -> tuple[Sequence[Conversation], dict[str, int]]:
    tokenizer = make_tokenizer()
    catalogue = make_text_catalogue(data, tokenizer, max_history=4, max_text_tokens=most)
    return training_conversations(data, tokenizer, catalogue, max_text_tokens=most, seed=0)


def test_every_kind_is_there_as_often_as_the_tables_allow(make_world: Any) -> None:
    world = make_world()
    path = with_texts(world)
    data = read_task_data(Workspace(world.workspace), path, None, ("lc-rec",))
    found, counts = conversations_of(data)
    of = Counter(c.kind for c in found)
    assert [c.kind for c in found] == sorted((c.kind for c in found), key=kinds.KINDS.index)
    assert found[-1] == list(found)[-1] and found[2:5] == list(found)[2:5]
    table = tables.read(path).to_pydict()
    by_user: dict[str, list[int]] = {}
    for row, user in enumerate(table["user_id"]):
        by_user.setdefault(user, []).append(row)
    train = {user: rows[:-2] if len(rows) > 2 else rows for user, rows in by_user.items()}
    drawn = sum(len(rows) > 1 for rows in train.values())
    items = len(data.titles)
    assert of == {
        kinds.TEXT_TO_ITEM: 3 * items,
        kinds.ITEM_TO_TEXT: 3 * items,
        kinds.TITLES_TO_ITEM: drawn,
        kinds.ITEMS_TO_TITLE: drawn,
        kinds.INTENT_TO_ITEM: sum(row % 3 == 0 for rows in train.values() for row in rows),
        kinds.ITEMS_TO_PREFERENCE: sum(any(row % 5 == 0 for row in rows) for rows in train.values()),
    }
    assert {kind: counts[f"lc_rec_{kind}"] for kind in kinds.KINDS} == of
    assert counts["lc_rec_history_targets"] == sum(len(rows) - 1 for rows in train.values())
    assert counts["lc_rec_texts_cut"] == counts["lc_rec_items_without_text"] == 0

    tokens_of = dict(zip(data.catalogue.item_ids, data.catalogue.tokens, strict=True))
    intents = [c for c in found if c.kind == kinds.INTENT_TO_ITEM]
    for conversation in intents:
        row = int(conversation.user.rsplit(" ", 1)[1])
        assert conversation.assistant == tokens_of[table["item_id"][row]]
    for conversation in (c for c in found if c.kind == kinds.ITEMS_TO_PREFERENCE):
        last = int(conversation.assistant.rsplit(" ", 1)[1])
        rows = [row for row in train[table["user_id"][last]] if row <= last][-4:]
        assert conversation.user.endswith("\n" + "".join(tokens_of[table["item_id"][row]] for row in rows))
    titles = {f"dress number {n}": data.catalogue.tokens[n] for n in range(items)}
    for words, name in zip(
        (c for c in found if c.kind == kinds.TITLES_TO_ITEM),
        (c for c in found if c.kind == kinds.ITEMS_TO_TITLE),
        strict=True,
    ):
        shown = [titles[line.removeprefix("- ")] for line in words.user.splitlines() if line.startswith("- ")]
        assert 0 < len(shown) <= 4 and name.user.endswith("\n" + "".join(shown))
        assert words.assistant == titles[name.assistant]


def test_missing_columns_are_reported(make_world: Any, capsys: Any) -> None:
    world = make_world()
    data = read_task_data(Workspace(world.workspace), world.interactions, None, ("lc-rec",))
    capsys.readouterr()
    _, counts = conversations_of(data)
    said = " ".join(capsys.readouterr().err.split())
    assert "no column 'intent' and no column 'preference'" in said and "one target of each user" in said
    assert counts["lc_rec_intent->item"] == counts["lc_rec_items->preference"] == 0
    alone, counts = conversations_of(read_task_data(Workspace(world.workspace), None, None, ("lc-rec",)), 1)
    assert {c.kind for c in alone} == {kinds.TEXT_TO_ITEM, kinds.ITEM_TO_TEXT}
    assert counts["lc_rec_texts_cut"] == 2 * len(data.titles)


def test_validation_asks_for_validation_targets(make_world: Any) -> None:
    world = make_world()
    data = read_task_data(Workspace(world.workspace), world.interactions, world.queries, ("search", "lc-rec"))
    search, lc_rec = make_tasks(data, make_tokenizer(), TaskOptions(valid_sample=6), 0)
    assert data.splits is not None
    tokens_of = dict(zip(data.catalogue.item_ids, data.catalogue.tokens, strict=True))
    assert len(lc_rec.valid) == 6 and lc_rec.target_rows == []
    asked = {c.assistant for c in lc_rec.valid if c.kind == kinds.TITLES_TO_ITEM}  # type: ignore[union-attr]
    assert asked <= {tokens_of[entry.target] for entry in data.splits.valid}
    # Of the queries table: good pairs only, validation queries only.
    assert search.counts == {
        "search_pairs": 16,
        "search_queries": 8,
        "search_valid_pairs_used": 4,
        "search_queries_cut": 0,
        "search_queries_naming_tokens": 0,
    }
    assert [row in (8, 9, 11, 12) for row in search.target_rows] == [True] * 4
    answers = [c.assistant for c in search.valid]  # type: ignore[union-attr]
    assert answers == [data.catalogue.tokens[row] for row in search.target_rows]
    assert not any(c.user.endswith(("size 8", "size 9")) for c in search.train)  # type: ignore[union-attr]
