"""Manifests: JSON files that say what an artifact is, from what it was made, and how long that took.

The digest of a manifest covers everything that determines the artifact (command, options, seed, inputs, upstream
artifacts, outputs, details, counts, metrics). It leaves out ``run`` (times, memory, versions) and the paths of the
inputs, so that the same work on the same data has the same digest everywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gti_cli.errors import InputError
from gti_cli.workspace.sealed import CARD, is_sealed_card

CHECKPOINT_MANIFEST = "gti.json"  # the manifest of a checkpoint lies inside its folder
FORMAT = 1
_PACKAGES = (
    *("gti-cli", "torch", "transformers", "peft", "accelerate", "faiss-cpu", "numpy", "pyarrow", "scikit-learn"),
    "datasets",
)


def canonical_digest(payload: Any) -> str:
    """Return the SHA-256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(payload, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def digest_path(path: Path, skip: str | None = None) -> str:
    """Return the SHA-256 of a file, or of a folder's file names and contents without its model card.

    Args:
        path: The file or folder.
        skip: Files of this name in the folder are left out.
    """
    return _digest_file(path) if path.is_file() else canonical_digest(_digest_entries(path, skip))


def is_unchanged(path: Path, digest: str) -> bool:
    """Return whether an output has the digest of its manifest; neither the manifest in it nor its model card counts.

    A ``README.md`` counts only where the digest includes it: in checkpoints written before there were cards, into
    which that of the base model was copied.
    """
    if path.is_file():
        return _digest_file(path) == digest
    entries = _digest_entries(path, CHECKPOINT_MANIFEST)
    without_card = [(name, of_file) for name, of_file in entries if name != CARD]
    return digest in (canonical_digest(without_card), canonical_digest(entries))


def _digest_entries(folder: Path, skip: str | None) -> list[tuple[str, str]]:
    """Return path and SHA-256 of each file below a folder, without files named ``skip`` and model cards of `gti`."""
    return [
        (file.relative_to(folder).as_posix(), _digest_file(file))
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != skip and not is_sealed_card(file)
    ]


def _digest_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def digest_outputs(folder: Path, outputs: Sequence[str]) -> dict[str, str]:
    """Return the digest of each output.

    Raises:
        RuntimeError: When an output does not exist, which is a bug in the stage.
    """
    missing = [output for output in outputs if not (folder / output).exists()]
    if missing:
        raise RuntimeError(f"the stage did not write {', '.join(missing)}")
    return {output: digest_path(folder / output) for output in outputs}


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that results may depend on."""
    from importlib import metadata

    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


@dataclass(frozen=True)
class Manifest:
    """What a finished artifact is and where it comes from.

    Attributes:
        name: The name of the artifact, e.g. ``"semantic_ids"``.
        command: The subcommand that made it.
        options: Every option that changed the result, with defaults filled in.
        seed: The seed of the run.
        inputs: Role -> path, bytes and sha256 of each input file.
        upstream: Name -> identity of each artifact that it was made from.
        outputs: Path relative to the workspace -> sha256 of each output.
        details: Facts that later stages rely on.
        counts: Numbers of things that the stage reported.
        metrics: Results that the stage reported.
        request: The digest of command, options, seed, inputs and upstream. A stage with the same request has nothing
            to do.
        run: Seconds, peak memory, start and end, versions, device; not part of `digest`.
    """

    name: str
    command: str
    options: dict[str, Any]
    seed: int
    inputs: dict[str, dict[str, Any]]
    upstream: dict[str, str]
    outputs: dict[str, str]
    details: dict[str, Any]
    counts: dict[str, Any]
    metrics: dict[str, Any]
    request: str
    run: dict[str, Any]

    @property
    def digest(self) -> str:
        """The SHA-256 of everything but `run` and the inputs' paths: equal for equal work on equal data."""
        content = {key: value for key, value in vars(self).items() if key not in ("run", "inputs")}
        content["inputs"] = {role: entry["sha256"] for role, entry in self.inputs.items()}
        return canonical_digest(content)

    @property
    def identity(self) -> str:
        """The value that artifacts made from this one record under ``upstream``.

        It is `digest`, unless the stage sets ``details["identity"]``: semantic IDs to which items are added later keep
        the identity of their first batch, because artifacts made from that batch stay valid.
        """
        return str(self.details.get("identity", self.digest))

    @property
    def seconds(self) -> float:
        """The wall time of the stage in seconds."""
        return float(self.run.get("seconds", 0.0))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that is written to the file."""
        return {"format": FORMAT, "digest": self.digest, **asdict(self)}

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> Manifest:
        """Read the manifest from a JSON object; further keys are ignored.

        Raises:
            KeyError: When a field is missing.
            TypeError: When the value is no JSON object.
        """
        return cls(**{key: payload[key] for key in cls.__dataclass_fields__})

    @classmethod
    def placeholder(
        cls,
        name: str,
        *,
        details: dict[str, Any] | None = None,
        counts: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
        run: dict[str, Any] | None = None,
    ) -> Manifest:
        """Make a manifest that describes no files and is never written; all other fields are empty.

        It stands for an artifact whose manifest cannot be read, and for the result of a process that keeps no outputs.
        """
        return cls(
            name=name,
            command="",
            options={},
            seed=0,
            inputs={},
            upstream={},
            outputs={},
            details=details or {},
            counts=counts or {},
            metrics=metrics or {},
            request="",
            run=run or {},
        )

    def difference(self, request: Mapping[str, Any]) -> str:
        """Say in words how this artifact differs from a request (`StageRequest.payload`)."""
        changes = [
            f"{key} {self.options.get(key)!r} -> {request['options'].get(key)!r}"
            for key in sorted({*self.options, *request["options"]})
            if self.options.get(key) != request["options"].get(key)
        ]
        if self.seed != request["seed"]:
            changes.append(f"seed {self.seed} -> {request['seed']}")
        digests = {role: entry["sha256"] for role, entry in self.inputs.items()}
        changes += [
            f"input {role} differs"
            for role in sorted({*digests, *request["inputs"]})
            if digests.get(role) != request["inputs"].get(role)
        ]
        changes += [
            f"{name} differs"
            for name in sorted({*self.upstream, *request["upstream"]})
            if self.upstream.get(name) != request["upstream"].get(name)
        ]
        if changes:
            return "with other inputs or options: " + "; ".join(changes)
        return "and its files were changed since"


def read_manifest(path: Path) -> Manifest:
    """Read a manifest file.

    Raises:
        InputError: When the file is no manifest.
        InputError: When the digest in the file does not fit its content.
    """
    remedy = "run the stage that wrote it again with --force"
    try:
        payload = json.loads(path.read_text("utf-8"))
        manifest = Manifest.from_json(payload)
        intact = payload.get("digest") == manifest.digest
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as cause:
        raise InputError("this is no manifest of gti, or a damaged one", where=str(path), remedy=remedy) from cause
    if not intact:
        raise InputError("the manifest was edited or damaged", where=str(path), remedy=remedy)
    return manifest
