"""Find the stale artifacts of a workspace: those made from something that has changed since."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gti_cli.errors import InputError
from gti_cli.workspace import CHECKPOINT_MANIFEST, Workspace
from gti_cli.workspace.inputs import digest_again
from gti_cli.workspace.manifest import Manifest, is_unchanged, read_manifest


@dataclass(frozen=True)
class ArtifactState:
    """An artifact of a workspace, and why it is stale if it is.

    Attributes:
        manifest: The manifest of the artifact.
        sources: The names of what it was made from: upstream artifacts first, then input files from outside the
            workspace (their paths stand in the manifest).
        reasons: The reasons in words why it is stale; empty when it is up to date.
        damaged: True when its manifest cannot be read; ``manifest`` is then a placeholder that holds only the name.
    """

    manifest: Manifest
    sources: list[str]
    reasons: list[str]
    damaged: bool = False

    @property
    def state(self) -> str:
        """``"up to date"``, ``"stale: …"`` or ``"damaged: …"``."""
        if self.damaged:
            return "damaged: " + "; ".join(self.reasons)
        return "stale: " + "; ".join(self.reasons) if self.reasons else "up to date"


def inspect(workspace: Workspace) -> list[ArtifactState]:
    """Return the state of every artifact, in the order in which they were made, damaged ones last.

    An artifact is stale when one of its own files was edited, when an input file has changed, when an artifact that it
    was made from was made again with another result, or when such an artifact is stale itself. A missing input file
    makes nothing stale, because people move their data.
    """
    manifests = workspace.manifests()
    damaged = _damaged(workspace, set(manifests))
    reasons_of: dict[str, list[str]] = {}

    def reasons(name: str) -> list[str]:
        """Return why an artifact is stale, including reasons that come from its upstream artifacts."""
        if name not in reasons_of:
            reasons_of[name] = []  # ends the recursion in a cycle, which only an edited manifest could cause
            manifest = manifests[name]
            collected = _edited_outputs(workspace, manifest) + _changed_inputs(manifest)
            for upstream, identity in manifest.upstream.items():
                if upstream not in manifests:
                    collected.append(f"{upstream} is {'damaged' if upstream in damaged else 'gone'}")
                elif manifests[upstream].identity != identity:
                    collected.append(f"{upstream} was made again")
                elif reasons(upstream):
                    collected.append(f"{upstream} is stale")
            reasons_of[name] = collected
        return reasons_of[name]

    states = [
        ArtifactState(manifest, [*manifest.upstream, *_outside_files(workspace, manifest)], reasons(name))
        for name, manifest in manifests.items()
    ]
    for name, problem in damaged.items():
        states.append(ArtifactState(Manifest.placeholder(name), [], [problem], damaged=True))
    return states


def _outside_files(workspace: Workspace, manifest: Manifest) -> list[str]:
    """Return the names of the input files that do not lie in the workspace."""
    paths = [Path(entry["path"]) for entry in manifest.inputs.values()]
    return [path.name for path in paths if path.resolve().parent != workspace.root.resolve()]


def _damaged(workspace: Workspace, readable: set[str]) -> dict[str, str]:
    """Return what is wrong with each manifest that cannot be read, by artifact name."""
    problems: dict[str, str] = {}
    for path in workspace.manifest_files():
        try:
            read_manifest(path)
        except InputError as error:
            inside = path.name == CHECKPOINT_MANIFEST and path.parent != workspace.root
            place = path.parent if inside else path.with_name(path.name.removesuffix(".json"))
            name = place.relative_to(workspace.root).as_posix()
            # Other JSON files may lie in a workspace too. A file counts as a manifest by its name and place, or, if it
            # can be parsed, by its keys.
            is_named_so = inside or name == "semantic_ids" or (place.parent != workspace.root and place.is_dir())
            if name not in readable and (is_named_so or _has_manifest_keys(path)):
                problems[name] = error.problem
    return problems


def _has_manifest_keys(path: Path) -> bool:
    try:
        payload = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(payload, dict) and {"command", "request", "outputs"} <= payload.keys()


def _edited_outputs(workspace: Workspace, manifest: Manifest) -> list[str]:
    reasons = []
    for output, digest in manifest.outputs.items():
        path = workspace.path(output)
        if not path.exists():
            reasons.append(f"{output} is missing")
        elif not is_unchanged(path, digest):
            reasons.append(f"{output} was edited")
    return reasons


def _changed_inputs(manifest: Manifest) -> list[str]:
    reasons = []
    for role, entry in manifest.inputs.items():
        # The path may be relative to another folder, or belong to another machine: a missing file proves nothing.
        if digest_again(entry) not in (None, entry["sha256"]):
            reasons.append(f"{role} ({entry['path']}) has changed")
    return reasons
