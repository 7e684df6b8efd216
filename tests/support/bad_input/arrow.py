"""Parquet and Arrow files with types that no text file has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from tests.support.bad_input.case import Case
from tests.support.bad_input.tables import COLUMNS, table_case


def arrow_cases() -> Iterator[Case]:
    """Parquet and Arrow files with types that no CSV has."""
    import pyarrow as pa

    kinds: dict[str, Callable[[list[Any]], Any]] = {
        "binary": lambda v: pa.array([str(x).encode() for x in v]),
        "bad utf-8": lambda v: pa.array([b"\xff\xfe"] * len(v)).cast(pa.binary()).view(pa.string()),
        "large string": lambda v: pa.array(map(str, v), pa.large_string()),
        "string view": lambda v: pa.array(map(str, v), pa.string_view()),
        "dictionary": lambda v: pa.array(map(str, v)).dictionary_encode(),
        "dictionary of null": lambda v: pa.DictionaryArray.from_arrays(
            pa.array([0] * len(v)), pa.nulls(1, pa.string())
        ),
        "null": lambda v: pa.nulls(len(v)),
        "bool": lambda v: pa.array([True] * len(v)),
        "uint64": lambda v: pa.array([2**64 - 1] * len(v), pa.uint64()),
        "float16": lambda v: pa.array([1.5] * len(v), pa.float16()),
        "decimal": lambda v: pa.array([Decimal("1e30")] * len(v), pa.decimal256(60, 2)),
        "date": lambda v: pa.array([2**30] * len(v), pa.date32()),
        "timestamp ns": lambda v: pa.array([2**62] * len(v), pa.timestamp("ns", "Asia/Kathmandu")),
        "timestamp s": lambda v: pa.array([2**62] * len(v), pa.timestamp("s")),
        "time": lambda v: pa.array([1] * len(v), pa.time64("ns")),
        "duration": lambda v: pa.array([1] * len(v), pa.duration("s")),
        "list": lambda v: pa.array([[str(x)] for x in v]),
        "list of lists": lambda v: pa.array([[[1.0], None]] * len(v)),
        "fixed list": lambda v: pa.array([[1.0, 2.0]] * len(v), pa.list_(pa.float32(), 2)),
        "fixed list of 0": lambda v: pa.array([[]] * len(v), pa.list_(pa.float32(), 0)),
        "struct": lambda v: pa.array([{"a": 1}] * len(v)),
        "empty struct": lambda v: pa.array([{}] * len(v), pa.struct([])),
        "map": lambda v: pa.array([[("a", 1)]] * len(v), pa.map_(pa.string(), pa.int64())),
        "fixed binary": lambda v: pa.array([b"1234"] * len(v), pa.binary(4)),
        "run ends": lambda v: pa.RunEndEncodedArray.from_arrays([len(v)], ["x"]),
        "union": lambda v: pa.UnionArray.from_sparse(pa.array([0] * len(v), pa.int8()), [pa.array(map(str, v))]),
        "interval": lambda v: pa.array([(1, 2, 3)] * len(v), pa.month_day_nano_interval()),
    }
    for kind in ("items", "interactions"):
        for column in COLUMNS[kind]:
            for n, (name, make) in enumerate(kinds.items()):
                path = "in.arrow" if n % 2 or name in ("run ends", "union", "interval") else "in.parquet"

                def table(kind: str = kind, column: str = column, make: Any = make) -> Any:
                    columns = {key: pa.array(values) for key, values in COLUMNS[kind].items()}
                    return pa.table({**columns, column: make(COLUMNS[kind][column])})

                yield table_case(kind, f"{column} is {name}", path, tables={path: table})
    vectors: dict[str, list[Any]] = {
        "lengths": [[1.0] * (n + 1) for n in range(8)],
        "nan": [[float("nan"), 1.0]] * 8,
        "inf": [[1e308, 1e308]] * 8,
        "missing": [None] * 8,
        "one missing": [[1.0, 2.0]] * 7 + [None],
        "texts": [["a", "b"]] * 8,
        "empty": [[]] * 8,
        "all zero": [[0.0, 0.0]] * 8,
        "numbers": [1.0] * 8,
        "inner missing": [[1.0, None]] * 8,
        "nested": [[[1.0], [2.0]]] * 8,
    }
    for name, values in vectors.items():
        path = "in.parquet"
        make = lambda values=values: pa.table({"item_id": COLUMNS["items"]["item_id"], "embedding": values})  # noqa: E731
        yield table_case("items", f"embedding {name}", path, tables={path: make})
    for name, names in {
        "twice": ["item_id", "item_id"],
        "unnamed": ["item_id", ""],
        "odd": ["item_id", "\x1b[31m\x00"],
    }.items():
        path = "in.arrow"
        make = lambda names=names: pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names)  # noqa: E731
        yield table_case("items", f"columns {name}", path, tables={path: make})
