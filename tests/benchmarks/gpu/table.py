"""The rows of `gpu.sh` as a Markdown table: ``python -m tests.benchmarks.gpu.table FILE``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def cell(name: str, value: Any) -> str:
    """A figure in words."""
    if isinstance(value, str):
        return value
    if name == "bytes":
        return f"{value / 2**20:,.0f} MiB"
    if name == "share":
        return f"{value:.0%}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(rows: list[dict[str, Any]]) -> str:
    """One line for each row: the part, what was measured, the figures that it has."""
    lines = ["| part | what | figures |", "|---|---|---|"]
    for entry in rows:
        names = {"bytes": "peak memory", "share": "share"}
        figures = [
            f"{names.get(name, name.replace('_', ' '))} {cell(name, value)}"
            for name, value in entry.items()
            if name not in ("part", "what")
        ]
        lines.append(f"| {entry['part']} | {entry['what']} | {', '.join(figures)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table([json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]))
