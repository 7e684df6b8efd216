"""What a stage works with while it runs: where to write, what to report; and writing that leaves no half files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gti_cli.clock import RunClock
from gti_cli.manifest import Manifest


def write_json(path: Path, payload: Mapping[str, Any]) -> None:
    """Write JSON under a temporary name and rename it; keys sorted, so that the same content gives the same bytes."""
    temporary = path.with_name(f".{path.name}.part")
    text = json.dumps(payload, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    temporary.write_text(text + "\n", "utf-8")
    temporary.replace(path)


@dataclass
class StageRun:
    """One run of a stage, inside `Workspace.stage`.

    Attributes:
        done: the outputs are there already, from the same inputs and options; the stage does nothing.
        folder: where the stage writes its outputs (moved into place at the end).
        scratch: where it keeps what lets an interrupted run resume (training checkpoints); gone once it is done.
        resuming: ``scratch`` holds work of an interrupted run with the same inputs and options.
        counts, metrics: what the stage reports; goes into the manifest. Plain JSON values only.
        details: facts about the outputs that later stages read (e.g. the tokens' digest); part of the lineage.
        measured: rates and times of this run (tokens per second, …): kept under ``run``, outside the digest, since
            equal work must have equal digests.
        device: the device in words, set by the stage when it has chosen one.
        manifest: of the finished outputs (after the block, or at once when ``done``).
    """

    done: bool
    folder: Path
    scratch: Path
    resuming: bool
    clock: RunClock
    counts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    device: str | None = None
    manifest: Manifest | None = None

    def path(self, name: str) -> Path:
        """Where to write the output ``name``."""
        return self.folder / name

    def result(self) -> Manifest:
        """The manifest of the finished stage."""
        if self.manifest is None:
            raise RuntimeError("the stage has not finished: call result() after the with block")
        return self.manifest


def share(folder: Path) -> None:
    """Give outputs the permissions that the user's umask asks for: safetensors writes for the owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
