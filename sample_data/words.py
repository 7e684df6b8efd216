"""Print the old words nearest to each new word, before and after grounding.

Usage: ``python sample_data/words.py GLOSSES DIAGNOSTICS_FOLDER``
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from gti_cli import console, tables

SHOWN, NEAREST = 12, 6


def neighbours(folder: Path) -> dict[tuple[str, str], list[str]]:
    """Read (checkpoint, token) -> nearest words of the input embedding, nearest first."""
    path = folder / "words.parquet"
    table = tables.read(path, ["checkpoint", "matrix", "token", "rank", "word"])
    words: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in sorted(table.to_pylist(), key=lambda row: row["rank"]):
        if row["matrix"] == "input":
            words[row["checkpoint"], row["token"]].append(row["word"])
    return words


def main(glosses: Path, folder: Path) -> None:
    """Print the table of the first words."""
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
