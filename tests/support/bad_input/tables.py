"""Tables with strange values, columns and bytes."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Iterator
from typing import Any

from tests.support.bad_input.case import Case
from tests.support.bad_input.values import JSON_TEXTS, TEXTS, VALUES

COLUMNS: dict[str, dict[str, list[Any]]] = {
    "items": {"item_id": [f"i{n}" for n in range(8)], "title": [f"red dress {n}" for n in range(8)]},
    "interactions": {
        "user_id": [f"u{n // 4}" for n in range(12)],
        "item_id": [f"i{(n * 3) % 8}" for n in range(12)],
        "timestamp": [1_700_000_000 + n for n in range(12)],
    },
    "queries": {
        "query_id": [f"q{n}" for n in range(6)],
        "query": [f"red {n}" for n in range(6)],
        "item_id": [f"i{n}" for n in range(6)],
        "relevance": [2] * 6,
        "split": ["train", "train", "train", "train", "valid", "test"],
    },
    "pairs": {"text": [f"red {n}" for n in range(6)], "tokens": ["<a_0><b_1>"] * 6},
    "words": {"token": ["<x>", "<y>", "<z>"], "description": ["red", "blue", "silk"]},
}
COMMANDS: dict[str, list[str]] = {
    "items": ["build-ids", "FILE", "-w", "new", "--levels", "2", "--codes", "4", "--device", "cpu"],
    "interactions": ["export", "conversations", "extended", "-w", "ws", "--interactions", "FILE", "-o", "out.jsonl"],
    "queries": ["export", "conversations", "extended", "-w", "ws", "--queries", "FILE", "-o", "out.jsonl"],
    "pairs": ["ground", "-w", "ws", "--pairs", "FILE", "--max-steps", "1", "--held-out", "0", "--device", "cpu"],
    "words": ["extend", "--model", "base", "-w", "ws", "--tokens", "FILE", "--name", "more",
    "--no-effect", "--device", "cpu"],
}  # fmt: skip


def jsonl(columns: dict[str, list[Any]]) -> bytes:
    """Rows of columns as JSON lines; lone surrogates stay escaped."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return "".join(json.dumps(row, default=repr) + "\n" for row in rows).encode()


_NUL = "\ue000"


def csv_text(columns: dict[str, list[Any]], delimiter: str = ",") -> str:
    """Rows of columns as CSV, quoted where needed."""
    out = io.StringIO()
    # Python 3.10's writer has no way to write NUL, which then is what would escape: another character stands for it.
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    for row in (columns, *zip(*columns.values(), strict=True)):
        writer.writerow([cell.replace("\0", _NUL) if isinstance(cell, str) else cell for cell in row])
    return out.getvalue().replace(_NUL, "\0")


def table_case(kind: str, name: str, path: str, **content: Any) -> Case:
    command = [path if word == "FILE" else word for word in COMMANDS[kind]]
    return Case(f"{kind} {name}", command, names=path, **content)


def value_cases() -> Iterator[Case]:
    """Tables with a strange value in one cell, or in every cell of a column."""
    for kind, columns in COLUMNS.items():
        for number, column in enumerate(columns):
            for n, value in enumerate([*TEXTS, *VALUES]):
                # Each value comes in one format and, by turns, in one cell or in all. Pairs are trained on: slow.
                if (kind == "pairs" and n % 3) or (kind in ("queries", "words") and (n + number) % 2):
                    continue
                changed = {name: list(values) for name, values in columns.items()}
                whole = n % 2 == 1
                changed[column] = [value] * len(changed[column]) if whole else [*changed[column][:-1], value]
                label = f"{column} {'=' if whole else 'has'} {str(value)[:24]!r} {n}"
                if isinstance(value, str) and n % 3 == 0:
                    text = csv_text(changed).encode("utf-8", "surrogatepass")
                    yield table_case(kind, label, "in.csv", files={"in.csv": text})
                else:
                    yield table_case(kind, label, "in.jsonl", files={"in.jsonl": jsonl(changed)})


def file_cases(rng: random.Random) -> Iterator[Case]:
    """Text files whose bytes are wrong: encodings, truncations, flipped and repeated bytes, compression."""
    for kind in ("items", "interactions"):
        columns = COLUMNS[kind]
        csv_bytes, lines = csv_text(columns).encode(), jsonl(columns)
        for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig"):
            for ending, text in (("csv", csv_text(columns)), ("jsonl", lines.decode())):
                yield table_case(kind, encoding, f"in.{ending}", files={f"in.{ending}": text.encode(encoding)})
        for ending, content in (("csv", csv_bytes), ("tsv", csv_text(columns, "\t").encode()), ("jsonl", lines)):
            path = f"in.{ending}"
            for n in range(6):
                at = rng.randrange(len(content))
                yield table_case(kind, f"cut at {at}", path, files={path: content[:at]})
                flipped = bytes([*content[:at], content[at] ^ (1 << rng.randrange(8)), *content[at + 1 :]])
                yield table_case(kind, f"flipped at {at}", path, files={path: flipped})
                noise = bytes(rng.randrange(256) for _ in range(3))
                yield table_case(kind, f"noise {n}", path, files={path: content[:at] + noise + content[at:]})
            yield table_case(kind, "empty", path, files={path: b""})
            yield table_case(kind, "zeros", path, files={path: b"\x00" * 100})
            yield table_case(kind, "one line end", path, files={path: b"\n"})
            yield table_case(kind, "cr", path, files={path: content.replace(b"\n", b"\r")})
            packed = gzip.compress(content)
            yield table_case(kind, "gz", f"{path}.gz", files={f"{path}.gz": packed})
            yield table_case(kind, "gz cut", f"{path}.gz", files={f"{path}.gz": packed[: len(packed) // 2]})
            yield table_case(kind, "gz of nothing", f"{path}.gz", files={f"{path}.gz": gzip.compress(b"")})
            yield table_case(kind, "no gz", f"{path}.gz", files={f"{path}.gz": content})
            yield table_case(kind, "no zst", f"{path}.zst", files={f"{path}.zst": content})
        header = ",".join(columns)
        for n, text in enumerate(
            ["", header, header + "\n", f"{header},{header}\n1,2\n", f"{header}\n1\n",
                f"{header}\n" + "x," * 50, f'{header}\n"',
             header.upper() + "\n1,2,3\n", ";".join(columns) + "\n1;2;3\n", "\n\n" + header,
                 header + "\n" + "," * (len(columns) - 1)]
        ):  # fmt: skip
            yield table_case(kind, f"header {n}", "in.csv", files={"in.csv": text.encode()})
        for n, text in enumerate(JSON_TEXTS):
            yield table_case(kind, f"json {n}", "in.jsonl", files={"in.jsonl": text.encode("utf-8", "surrogatepass")})
        for path in ("in.parquet", "in.arrow"):
            for content in (b"", b"PAR1", b"PAR1" + b"\x00" * 20 + b"PAR1", b"ARROW1", lines, b"\xff" * 64):
                yield table_case(kind, f"{path} of {content[:4]!r}", path, files={path: content})
