"""What in a workspace is stale: made from something that has changed since."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gti_cli.manifest import Manifest, digest_path
from gti_cli.workspace import CHECKPOINT_MANIFEST, Workspace


@dataclass(frozen=True)
class ArtifactState:
    """An artifact of a workspace and why it is stale, if it is.

    Attributes:
        manifest: of the artifact. sources: what it was made from, upstream artifacts first, then input files.
        reasons: why it is stale, in words; empty when it is up to date.
    """

    manifest: Manifest
    sources: list[str]
    reasons: list[str]

    @property
    def state(self) -> str:
        """``"up to date"`` or ``"stale: …"``."""
        return "stale: " + "; ".join(self.reasons) if self.reasons else "up to date"


def inspect(workspace: Workspace) -> list[ArtifactState]:
    """The state of every artifact, in the order in which they were made.

    An artifact is stale when one of its own files was edited, when an input file has changed, when what it was made
    from was made anew with another outcome, or when what it was made from is stale itself. Input files that are gone
    are no reason: people move their data.
    """
    manifests = workspace.manifests()
    known: dict[str, list[str]] = {}

    def reasons(name: str) -> list[str]:
        """Why this artifact is stale, those it was made from included."""
        if name not in known:
            known[name] = []  # stops a cycle, which only an edited manifest could make
            manifest = manifests[name]
            found = _edited(workspace, manifest) + _changed_inputs(manifest)
            for upstream, identity in manifest.upstream.items():
                if upstream not in manifests:
                    found.append(f"{upstream} is gone")
                elif manifests[upstream].identity != identity:
                    found.append(f"{upstream} was made anew")
                elif reasons(upstream):
                    found.append(f"{upstream} is stale")
            known[name] = found
        return known[name]

    return [
        ArtifactState(manifest, [*manifest.upstream, *(e["path"] for e in manifest.inputs.values())], reasons(name))
        for name, manifest in manifests.items()
    ]


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
