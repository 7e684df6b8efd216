"""What in a workspace is stale: made from something that has changed since."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gti_cli.errors import InputError
from gti_cli.workspace import CHECKPOINT_MANIFEST, Workspace
from gti_cli.workspace.manifest import Manifest, digest_path, read_manifest


@dataclass(frozen=True)
class ArtifactState:
    """An artifact of a workspace and why it is stale, if it is.

    Attributes:
        manifest: of the artifact. sources: what it was made from, upstream artifacts first, then the names
            of input files from elsewhere (their paths are in the manifest).
        reasons: why it is stale, in words; empty when it is up to date.
        damaged: its manifest cannot be read; ``manifest`` stands in for it and holds no more than the name.
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
    """The state of every artifact, in the order in which they were made, damaged ones last.

    An artifact is stale when one of its own files was edited, when an input file has changed, when what it was made
    from was made anew with another outcome, or when what it was made from is stale itself. Input files that are gone
    are no reason: people move their data.
    """
    manifests = workspace.manifests()
    damaged = _damaged(workspace, set(manifests))
    known: dict[str, list[str]] = {}

    def reasons(name: str) -> list[str]:
        """Why this artifact is stale, those it was made from included."""
        if name not in known:
            known[name] = []  # stops a cycle, which only an edited manifest could make
            manifest = manifests[name]
            found = _edited(workspace, manifest) + _changed_inputs(manifest)
            for upstream, identity in manifest.upstream.items():
                if upstream not in manifests:
                    found.append(f"{upstream} is {'damaged' if upstream in damaged else 'gone'}")
                elif manifests[upstream].identity != identity:
                    found.append(f"{upstream} was made anew")
                elif reasons(upstream):
                    found.append(f"{upstream} is stale")
            known[name] = found
        return known[name]

    states = [
        ArtifactState(manifest, [*manifest.upstream, *_files(workspace, manifest)], reasons(name))
        for name, manifest in manifests.items()
    ]
    for name, problem in damaged.items():
        stand_in = Manifest(name, "", {}, 0, {}, {}, {}, {}, {}, {}, "", {})
        states.append(ArtifactState(stand_in, [], [problem], damaged=True))
    return states


def _files(workspace: Workspace, manifest: Manifest) -> list[str]:
    paths = [Path(entry["path"]) for entry in manifest.inputs.values()]
    return [path.name for path in paths if path.resolve().parent != workspace.root.resolve()]


def _damaged(workspace: Workspace, readable: set[str]) -> dict[str, str]:
    """What is wrong with the manifests that cannot be read, by the names of their artifacts."""
    found: dict[str, str] = {}
    for path in workspace.manifest_files():
        try:
            read_manifest(path)
        except InputError as error:
            inside = path.name == CHECKPOINT_MANIFEST and path.parent != workspace.root
            place = path.parent if inside else path.with_name(path.name.removesuffix(".json"))
            name = place.relative_to(workspace.root).as_posix()
            # Any other JSON file may lie in a workspace: a manifest's name or, in an edited one, its keys tell.
            known = inside or name == "semantic_ids" or (place.parent != workspace.root and place.is_dir())
            if name not in readable and (known or _has_keys(path)):
                found[name] = error.problem
    return found


def _has_keys(path: Path) -> bool:
    try:
        payload = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(payload, dict) and {"command", "request", "outputs"} <= payload.keys()


def _edited(workspace: Workspace, manifest: Manifest) -> list[str]:
    found = []
    for output, digest in manifest.outputs.items():
        path = workspace.path(output)
        if not path.exists():
            found.append(f"{output} is missing")
        elif digest_path(path, skip=CHECKPOINT_MANIFEST) != digest:
            found.append(f"{output} was edited")
    return found


def _changed_inputs(manifest: Manifest) -> list[str]:
    found = []
    for role, entry in manifest.inputs.items():
        path = Path(entry["path"])
        # Inputs of another machine or folder cannot be judged from here.
        if path.exists() and digest_path(path) != entry["sha256"]:
            found.append(f"{role} ({path}) has changed")
    return found
