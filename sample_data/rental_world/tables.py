"""The sample's Parquet tables."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rental_world.products import Product, draw_catalogue
from rental_world.queries import Query, draw_queries
from rental_world.users import Catalogue, draw_histories, draw_popularity


@dataclass(frozen=True)
class World:
    """The catalogue, each customer's rentals (item, timestamp), and the searches."""

    products: list[Product]
    histories: list[list[tuple[int, int]]]
    queries: list[Query]


def draw_world(seed: str, items: int, users: int, queries: int) -> World:
    """Draw the content of all tables."""
    products = draw_catalogue(random.Random(f"{seed}/catalogue"), items)
    shop = Catalogue(products, draw_popularity(random.Random(f"{seed}/popularity"), items))
    histories = draw_histories(seed, shop, users)
    return World(products, histories, draw_queries(random.Random(f"{seed}/queries"), products, queries))


def item_id(index: int) -> str:
    """Return the id of an item: ``R0001`` for index 0."""
    return f"R{index + 1:04d}"


def _write(path: Path, columns: dict[str, pa.Array]) -> None:
    pq.write_table(pa.table(columns), path, compression="zstd", compression_level=19)


def _strings(values: Sequence[str]) -> pa.Array:
    return pa.array(values, type=pa.string())


def write_items(folder: Path, products: Sequence[Product]) -> None:
    """Write `items.parquet`, and the pairs table `titles.parquet` with the same texts."""
    texts = {
        "item_id": _strings([item_id(index) for index in range(len(products))]),
        "title": _strings([product.title for product in products]),
        "description": _strings([product.description for product in products]),
    }
    more = {
        "brand": _strings([product.brand.name for product in products]),
        "categories": _strings([product.kind.category for product in products]),
    }
    _write(folder / "items.parquet", {**texts, **more})
    _write(folder / "titles.parquet", texts)


def write_interactions(folder: Path, histories: Sequence[Sequence[tuple[int, int]]]) -> None:
    """Write `interactions.parquet`: by user, then by time."""
    rows = [
        (f"U{user + 1:04d}", item_id(item), when) for user, history in enumerate(histories) for item, when in history
    ]
    users, items, times = zip(*rows, strict=True)
    _write(
        folder / "interactions.parquet",
        {"user_id": _strings(users), "item_id": _strings(items), "timestamp": pa.array(times, type=pa.int64())},
    )


def write_queries(folder: Path, queries: Sequence[Query]) -> None:
    """Write `queries.parquet`; of every twenty queries fourteen train, three validate and three test."""
    splits = ["train"] * 14 + ["valid"] * 3 + ["test"] * 3
    rows = [
        (query.text, item_id(item), relevance, f"Q{number + 1:03d}", splits[number % 20])
        for number, query in enumerate(queries)
        for item, relevance in query.judged
    ]
    texts, items, grades, ids, split = zip(*rows, strict=True)
    _write(
        folder / "queries.parquet",
        {
            "query": _strings(texts),
            "item_id": _strings(items),
            "relevance": pa.array(grades, type=pa.int32()),
            "query_id": _strings(ids),
            "split": _strings(split),
        },
    )


def write_world(folder: Path, world: World) -> None:
    """Write all tables."""
    folder.mkdir(parents=True, exist_ok=True)
    write_items(folder, world.products)
    write_interactions(folder, world.histories)
    write_queries(folder, world.queries)
