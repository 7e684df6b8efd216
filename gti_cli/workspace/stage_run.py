"""What a stage is asked to make (`StageRequest`), and what it works with while it runs (`StageRun`).

`gti_cli.workspace.workspace` decides whether a request is finished already, is resumed, or starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gti_cli.errors import InputError
from gti_cli.workspace.clock import RunClock
from gti_cli.workspace.manifest import (
    CHECKPOINT_MANIFEST,
    Manifest,
    canonical_digest,
    digest_outputs,
    package_versions,
)
from gti_cli.workspace.remarks import remarks_on


@dataclass
class StageRun:
    """One run of a stage, inside the block of `Workspace.stage`.

    Attributes:
        done: True when the outputs exist already, made from the same inputs and options; the stage then does nothing.
        folder: The folder where the stage writes its outputs. They are moved into place at the end.
        scratch: The folder for what an interrupted run needs to resume, such as training checkpoints. It is removed
            when the stage has finished.
        resuming: True when ``scratch`` holds work of an interrupted run with the same inputs and options.
        clock: Measures the time of the run.
        counts: Numbers of things for the manifest, set by the stage; JSON values only.
        metrics: Results for the manifest, set by the stage; JSON values only.
        details: Facts about the outputs that later stages read (such as the digest of the tokens), set by the stage;
            they are part of the artifact's identity.
        measured: Rates and times of this run, such as tokens per second, set by the stage. They stand under ``run`` in
            the manifest, which its digest leaves out, since equal work must have equal digests.
        device: The device in words, set by the stage once it has chosen one.
        manifest: The manifest of the finished outputs; set at the end of the block, or from the start if ``done``.
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
        """Return where to write the output ``name``."""
        return self.folder / name

    @property
    def work(self) -> Path:
        """A folder for large temporary files; whoever writes there makes it. It is removed however the stage ends."""
        return self.folder / ".work"

    def result(self) -> Manifest:
        """Return the manifest of the finished stage."""
        if self.manifest is None:
            raise RuntimeError("the stage has not finished: call result() after the with block")
        return self.manifest


@dataclass(frozen=True)
class StageRequest:
    """What a stage is asked to make, and from what.

    Attributes:
        command: The subcommand, e.g. ``"build-ids"``.
        name: The name of the artifact.
        outputs: The files and folders that the stage writes, relative to the workspace.
        options: Every option that changes the result, as plain JSON values.
        seed: The seed of the run.
        inputs: Role -> path, bytes and sha256 of each input file.
        upstream: Name -> identity of each artifact that the stage starts from.
        checkpoint: Whether the manifest goes into the folder ``name``.
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
        """Return everything that determines the result; inputs count by content, not by path."""
        return {
            "command": self.command,
            "options": self.options,
            "seed": self.seed,
            "inputs": {role: entry["sha256"] for role, entry in self.inputs.items()},
            "upstream": self.upstream,
        }

    @property
    def digest(self) -> str:
        """The SHA-256 of `payload`: equal for equal requests."""
        return canonical_digest(self.payload())

    @property
    def manifest_path(self) -> str:
        """Where the manifest goes, relative to the workspace."""
        return f"{self.name}/{CHECKPOINT_MANIFEST}" if self.checkpoint else f"{self.name}.json"

    def manifest(self, run: StageRun) -> Manifest:
        """Make the manifest of a run that has written its outputs."""
        remarks = {role: remarks_on(entry["path"]) for role, entry in self.inputs.items()}
        # Under `run`, since the manifest's digest says what the artifact is, not what was said about its inputs.
        said = {"remarks": {role: some for role, some in remarks.items() if some}} if any(remarks.values()) else {}
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
            run={"device": run.device, "versions": package_versions(), **said, **run.measured, **run.clock.report()},
        )


def check_finite(request: StageRequest, run: StageRun) -> None:
    """Refuse a result with NaN or an infinite number, which no manifest can hold; the scratch folder is kept.

    Raises:
        InputError: When a number in the counts, metrics, details or measurements is not finite; the error names it.
    """
    for kind, values in (
        ("counts", run.counts),
        ("metrics", run.metrics),
        ("details", run.details),
        ("run", run.measured),
    ):
        if (path := _path_of_non_finite(values)) is not None:
            raise InputError(
                f"{request.command} has a result that is NaN or infinite: {kind}, {path}",
                where=request.name,
                remedy="look for extreme values in its input; where it trains, lower the learning rates",
            )


def _path_of_non_finite(value: Any) -> str | None:
    """Return the path (``"tasks.search.valid_loss"``) of the first NaN or infinity in a JSON value, or None."""
    if isinstance(value, float):
        return None if math.isfinite(value) else ""
    entries = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        if (path := _path_of_non_finite(entry)) is not None:
            return f"{key}.{path}" if path else str(key)
    return None
