"""A command line and the wrong files that it reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Case:
    """One command on wrong input.

    Attributes:
        name: What is wrong.
        command: Command line; it runs in a folder of its own with the files of the shop.
        files: The files that are replaced: path -> content.
        tables: Tables that are written as Parquet or Arrow: path -> maker of the table.
        names: A part of the line that a refusal must hold (the file); "" where the command names something else.
    """

    name: str
    command: list[str]
    files: dict[str, bytes] = field(default_factory=dict)
    tables: dict[str, Callable[[], Any]] = field(default_factory=dict)
    names: str = ""

    def write(self, folder: Path) -> None:
        """Write the files of the case."""
        for path, content in self.files.items():
            (folder / path).write_bytes(content)
        for path, make in self.tables.items():
            write_table(folder / path, make())


def write_table(path: Path, table: Any) -> None:
    """Write a pyarrow table as it is, without what `gti_cli.tables.write` makes better."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        pq.write_table(table, path)
        return
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


@dataclass
class Edited(Case):
    """A case that changes one value of a JSON file.

    Attributes:
        path: The file.
        keys: Where the value is.
        value: What is put there.
    """

    path: str = ""
    keys: list[str] = field(default_factory=list)
    value: Any = None

    def write(self, folder: Path) -> None:
        """Change the file."""
        content = json.loads((folder / self.path).read_text("utf-8"))
        place = content
        for key in self.keys[:-1]:
            place = place[key]
        place[self.keys[-1]] = self.value
        (folder / self.path).write_text(json.dumps(content), "utf-8")


@dataclass
class Damaged(Case):
    """A case that changes bytes of a file.

    Attributes:
        path: The file.
        change: From the old content to the new one.
    """

    path: str = ""
    change: Callable[[bytes], bytes] = bytes

    def write(self, folder: Path) -> None:
        """Change the file."""
        (folder / self.path).write_bytes(self.change((folder / self.path).read_bytes()))
