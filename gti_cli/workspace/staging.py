"""What a stage works with while it runs: where to write, what to report; and writing that leaves no half files."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gti_cli.errors import InputError
from gti_cli.workspace.clock import RunClock
from gti_cli.workspace.files import replacing
from gti_cli.workspace.manifest import (
    CHECKPOINT_MANIFEST,
    Manifest,
    canonical_digest,
    digest_outputs,
    digest_path,
    package_versions,
)


def write_json(path: Path, payload: Mapping[str, Any]) -> None:
    """Write JSON under a temporary name and rename it; keys sorted, so that the same content gives the same bytes."""
    text = json.dumps(payload, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", "utf-8")


def _not_finite(value: Any) -> str | None:
    """The path (``"tasks.search.valid_loss"``) of the first number in a JSON value that is NaN or infinite, or None."""
    if isinstance(value, float):
        return None if math.isfinite(value) else ""
    entries = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        if (found := _not_finite(entry)) is not None:
            return f"{key}.{found}" if found else str(key)
    return None


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


@dataclass(frozen=True)
class StageRequest:
    """What a stage is asked to make, and from what.

    Attributes:
        command, name, outputs, seed: as `Workspace.stage` was given them. options: as plain JSON values.
        inputs: role -> path, bytes, sha256. upstream: artifact name -> its identity. checkpoint: the manifest goes into
            the folder ``name``.
    """

    command: str
    name: str
    outputs: Sequence[str]
    options: dict[str, Any]
    seed: int
    inputs: dict[str, dict[str, Any]]
    upstream: dict[str, str]
    checkpoint: bool

    def payload(self) -> dict[str, Any]:
        """What makes it another request when it differs: inputs by content, not by path."""
        return {
            "command": self.command,
            "options": self.options,
            "seed": self.seed,
            "inputs": {role: entry["sha256"] for role, entry in self.inputs.items()},
            "upstream": self.upstream,
        }

    @property
    def digest(self) -> str:
        """Equal for equal requests."""
        return canonical_digest(self.payload())

    @property
    def manifest_path(self) -> str:
        """Below the workspace."""
        return f"{self.name}/{CHECKPOINT_MANIFEST}" if self.checkpoint else f"{self.name}.json"

    def manifest(self, run: StageRun) -> Manifest:
        """Of a stage that has written its outputs."""
        return Manifest(
            name=self.name,
            command=self.command,
            options=self.options,
            seed=self.seed,
            inputs=self.inputs,
            upstream=self.upstream,
            outputs=digest_outputs(run.folder, self.outputs),
            details=run.details,
            counts=run.counts,
            metrics=run.metrics,
            request=self.digest,
            run={"device": run.device, "versions": package_versions(), **run.measured, **run.clock.report()},
        )


def check_figures(asked: StageRequest, run: StageRun) -> None:
    """Refuse a result with a figure that is no finite number, which no manifest can hold, while what it cost is kept.

    Raises:
        InputError: names the figure.
    """
    for kind, figures in (
        ("counts", run.counts),
        ("metrics", run.metrics),
        ("details", run.details),
        ("run", run.measured),
    ):
        if (name := _not_finite(figures)) is not None:
            raise InputError(
                f"{asked.command} ended with a figure that is no finite number: {kind}, {name}",
                where=asked.name,
                remedy="look for extreme values in its input; where it trains, lower the learning rates",
            )


def left_over(root: Path, old: Manifest | None, new: Manifest) -> list[str]:
    """Outputs of the manifest that is replaced which the new one has no more, and which nobody has changed since."""
    names = [name for name in (old.outputs if old else {}) if name not in new.outputs]
    inside = [name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts]
    return [
        name
        for name in inside
        if (root / name).exists() and old and digest_path(root / name, skip=CHECKPOINT_MANIFEST) == old.outputs[name]
    ]


def share(folder: Path) -> None:
    """Give outputs the permissions that the user's umask asks for: safetensors writes for the owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
