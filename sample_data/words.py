"""Print the old words nearest to each new word, before and after grounding: ``words.py GLOSSES DIAGNOSTICS_FOLDER``."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from gti_cli import console, tables

SHOWN, NEAREST = 12, 6


def neighbours(folder: Path) -> dict[tuple[str, str], list[str]]:
    """(checkpoint, token) -> words, the nearest first, of the input matrix."""
    path = folder / "words.parquet"
    table = tables.read(path, ["checkpoint", "matrix", "token", "rank", "word"])
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in sorted(table.to_pylist(), key=lambda row: row["rank"]):
        if row["matrix"] == "input":
            found[row["checkpoint"], row["token"]].append(row["word"])
    return found


def main(glosses: Path, folder: Path) -> None:
    """Print the table."""
    table = tables.read(glosses, ["token", "description"])
    words = neighbours(folder)
    rows = [
        [token, meaning, *(", ".join(words[checkpoint, token][:NEAREST]) for checkpoint in ("extended", "grounded"))]
        for token, meaning in zip(*(table.column(name).to_pylist() for name in ("token", "description")), strict=True)
    ]
    columns = ["new word", "meaning", "nearest old words, before", "after grounding"]
    console.table(f"Nearest old words ({SHOWN} of {len(rows)} new words)", columns, rows[:SHOWN])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
