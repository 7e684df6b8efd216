"""What the manifests say of a checkpoint: which stages made it, and what its evaluation found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gti_cli.diagnostics.inputs import DiagnosedCheckpoint
from gti_cli.errors import InputError
from gti_cli.workspace import CHECKPOINT_MANIFEST, Workspace
from gti_cli.workspace.inputs import digest_again
from gti_cli.workspace.manifest import Manifest, read_manifest

GROUND, FINETUNE = "ground", "finetune"  # commands as manifests name them
_CHECKPOINT_COMMANDS = ("extend", GROUND, FINETUNE)
_CUTOFF = 10  # Recall is compared at this cut-off, or at the nearest one that was evaluated


@dataclass(frozen=True)
class FoundAccuracy:
    """What an evaluation found, beside the popularity baseline.

    Attributes:
        artifact: Name of the evaluation in the workspace, for example ``"evaluation/gti"``.
        metric: Name of the metric, for example ``"recall@10"``.
        value: Its mean over the evaluated users.
        interval: Its 95 % interval over users. None where the evaluation has none.
        popularity: The same metric of the most popular items. None where that baseline was not evaluated.
    """

    artifact: str
    metric: str
    value: float
    interval: tuple[float, float] | None
    popularity: float | None


@dataclass(frozen=True)
class History:
    """How a checkpoint came about, as far as manifests tell.

    Attributes:
        name: Its name in the workspace. ``CKPT`` for a folder elsewhere, whose path is not the same on every machine.
        commands: The stages that made it, the last one first, for example ``("finetune", "extend")``. Empty where no
            stage of `gti` wrote it.
        complete: Whether ``commands`` reaches back to the stage that added the tokens.
        initializer: How the new rows started. None where that is not known.
        accuracy: What its newest evaluation in the workspace found. None without one.
    """

    name: str = "CKPT"
    commands: tuple[str, ...] = ()
    complete: bool = False
    initializer: str | None = None
    accuracy: FoundAccuracy | None = None

    def has(self, command: str) -> bool | None:
        """Whether a stage is part of the history. None: not known."""
        if command in self.commands:
            return True
        return False if self.complete else None

    def figures(self) -> dict[str, Any]:
        """What the figures of a diagnosis say of the history: JSON values by name."""
        accuracy = self.accuracy
        return {
            "made_by": list(self.commands),
            "initializer": self.initializer,
            "evaluation": accuracy and accuracy.artifact,
            "evaluation_metric": accuracy and accuracy.metric,
            "evaluation_value": accuracy and accuracy.value,
            "evaluation_popularity": accuracy and accuracy.popularity,
        }


UNKNOWN = History()


def read_history(space: Workspace, manifests: Mapping[str, Manifest], checkpoint: DiagnosedCheckpoint) -> History:
    """Follow the manifests of a checkpoint back to its start, and look up its evaluation.

    Args:
        space: The workspace.
        manifests: All manifests of the workspace by name, the oldest first (`Workspace.manifests`).
        checkpoint: A checkpoint that was read.
    """
    folder = checkpoint.rows.folder
    own = checkpoint.manifest
    in_workspace = own is not None and space.path(own.name).resolve() == folder.resolve()
    name = own.name if own is not None and in_workspace else UNKNOWN.name
    accuracy = _newest_accuracy(manifests, own, folder)
    if own is None:
        return History(name, accuracy=accuracy)
    commands, complete = _trace(manifests, own, folder)
    initializer = own.details.get("initializer")
    return History(name, commands, complete, str(initializer) if initializer else None, accuracy)


def _trace(manifests: Mapping[str, Manifest], own: Manifest, folder: Path) -> tuple[tuple[str, ...], bool]:
    """The stages that made a checkpoint, and whether they reach back to the stage that added the tokens."""
    by_identity = {manifest.identity: manifest for manifest in manifests.values()}
    commands: list[str] = []
    seen: set[str] = set()  # ends a cycle, which only an edited manifest could cause
    current: Manifest | None = own
    while current is not None and current.identity not in seen:
        commands.append(current.command)
        seen.add(current.identity)
        if current.command == "extend":
            return tuple(commands), True
        before = [_find(by_identity, folder, name, identity) for name, identity in current.upstream.items()]
        current = next((one for one in before if one is not None and one.command in _CHECKPOINT_COMMANDS), None)
    return tuple(commands), False


def _find(by_identity: Mapping[str, Manifest], folder: Path, name: str, identity: str) -> Manifest | None:
    """The manifest with an identity: of the workspace, or of a checkpoint that lies beside ``folder``."""
    if identity in by_identity:
        return by_identity[identity]
    path = folder.parent / name / CHECKPOINT_MANIFEST
    try:
        manifest = read_manifest(path) if path.is_file() else None
    except InputError:
        return None  # damaged: it tells nothing
    return manifest if manifest is not None and manifest.identity == identity else None


def _newest_accuracy(manifests: Mapping[str, Manifest], own: Manifest | None, folder: Path) -> FoundAccuracy | None:
    """The newest evaluation of a checkpoint; one with a popularity baseline, on test users, comes first."""
    found = [
        (accuracy.popularity is not None, manifest.options.get("split") == "test", number, accuracy)
        for number, manifest in enumerate(manifests.values())
        if manifest.command == "evaluate"
        and _is_of(manifest, own, folder)
        and (accuracy := read_accuracy(manifest)) is not None
    ]
    return max(found, key=lambda entry: entry[:3])[3] if found else None


def _is_of(evaluation: Manifest, own: Manifest | None, folder: Path) -> bool:
    """Whether an evaluation is of this checkpoint, as it is now."""
    if own is not None and own.identity in evaluation.upstream.values():
        return True
    entry = evaluation.inputs.get("checkpoint")  # a folder outside the workspace
    return (
        entry is not None
        and Path(entry["path"]).resolve() == folder.resolve()
        and (digest_again(entry) == entry["sha256"])
    )


def read_accuracy(evaluation: Manifest) -> FoundAccuracy | None:
    """Recall from the manifest of an evaluation; None where it has none.

    Args:
        evaluation: The manifest that `gti evaluate` wrote.
    """
    metrics = evaluation.metrics.get("metrics", {})
    names = [name for name in metrics if name.startswith("recall@") and metrics[name] is not None]
    if not names:
        return None
    metric = min(names, key=lambda name: (abs(int(name.partition("@")[2]) - _CUTOFF), name))
    interval = evaluation.metrics.get("intervals", {}).get(metric)
    popularity = evaluation.metrics.get("baselines", {}).get("popularity", {}).get(metric)
    ends = None if interval is None else (float(interval[0]), float(interval[1]))
    return FoundAccuracy(
        evaluation.name, metric, float(metrics[metric]), ends, None if popularity is None else float(popularity)
    )
