"""What the catalogue files of serving engines are made from, and what was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class EngineCatalogue:
    """The semantic IDs of N items with L levels, and the tokens that a checkpoint has for them.

    Attributes:
        item_ids: N ids.
        codes: (N, L) int32.
        sizes: The number of codes of each level.
        titles: N titles; None where the items have none.
        token_ids: L arrays (sizes[l],), the checkpoint's token id of each code; None without a checkpoint.
        vocabulary: The number of token ids that the checkpoint's model knows; 0 without a checkpoint.
    """

    item_ids: Sequence[str]
    codes: npt.NDArray[np.int32]
    sizes: Sequence[int]
    titles: Sequence[str] | None = None
    token_ids: Sequence[npt.NDArray[np.int64]] | None = None
    vocabulary: int = 0

    @property
    def levels(self) -> int:
        """The number L of codes in a semantic ID."""
        return int(self.codes.shape[1])

    @property
    def semantic_ids(self) -> int:
        """The number of different semantic IDs: below N where items share one."""
        return len(np.unique(self.codes, axis=0))

    def item_tokens(self) -> npt.NDArray[np.int64]:
        """Return the token ids of every item, (N, L); without a checkpoint the codes themselves."""
        if self.token_ids is None:
            return self.codes.astype(np.int64)
        columns = [ids[self.codes[:, level]] for level, ids in enumerate(self.token_ids)]
        return np.stack(columns, axis=1).astype(np.int64)


@dataclass(frozen=True)
class WrittenFile:
    """One file that was written.

    Attributes:
        path: The file.
        holds: What is in it, in words.
        rows: How many of these.
    """

    path: Path
    holds: str
    rows: int

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the file for ``--json``."""
        return {**asdict(self), "path": str(self.path), "bytes": self.path.stat().st_size}


@dataclass(frozen=True)
class CatalogueExport:
    """A catalogue that was written for an engine.

    Attributes:
        engine: One of `gti_cli.exporting.engines.ENGINES`; None: for any reader of tuples of codes.
        items: The number of items.
        semantic_ids: The number of different semantic IDs.
        levels: The number of codes in each.
        identity: Identity of the semantic IDs.
        files: What was written.
        use: How the engine is started on it, line by line.
        command: The command among these lines, "" where there is none.
        script: A script that asks the checkpoint with plain transformers, "" where there is none.
        facts: Further entries for ``--json``.
    """

    engine: str | None
    items: int
    semantic_ids: int
    levels: int
    identity: str
    files: Sequence[WrittenFile]
    use: Sequence[str] = ()
    command: str = ""
    script: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def numbers(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        told: dict[str, Any] = {
            "output": str(self.files[0].path),
            "items": self.items,
            "levels": self.levels,
            "from": self.identity,
            **{key: value for key, value in (("command", self.command), ("script", self.script)) if value},
        }
        if self.engine is None:
            return told
        files = [file.to_json() for file in self.files]
        return {**told, "engine": self.engine, "semantic_ids": self.semantic_ids, "files": files, **self.facts}
