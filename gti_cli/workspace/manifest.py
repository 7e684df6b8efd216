"""Manifests: what a set of files is, from what it was made, and how long that took.

A manifest's ``digest`` covers what determines the files (command, options, seed, inputs, upstream, outputs, details)
and leaves out ``run`` (times, memory, versions, paths), so that the same work on the same data has the same digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gti_cli.errors import InputError

CHECKPOINT_MANIFEST = "gti.json"  # the manifest of a checkpoint lies inside its folder
FORMAT = 1
_PACKAGES = ("gti-cli", "torch", "transformers", "peft", "accelerate", "faiss-cpu", "numpy", "pyarrow", "scikit-learn")


def canonical_digest(payload: Any) -> str:
    """SHA-256 of a JSON value, independent of key order."""
    return hashlib.sha256(json.dumps(payload, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def digest_path(path: Path, skip: str | None = None) -> str:
    """SHA-256 of a file, or of a folder's relative file names and contents (without files named ``skip``)."""
    if path.is_file():
        return _digest_file(path)
    entries = [
        (file.relative_to(path).as_posix(), _digest_file(file))
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != skip
    ]
    return canonical_digest(entries)


def _digest_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def digest_outputs(folder: Path, outputs: Sequence[str]) -> dict[str, str]:
    """Digests of the outputs below ``folder``; all of them must have been written."""
    missing = [output for output in outputs if not (folder / output).exists()]
    if missing:
        raise RuntimeError(f"the stage did not write {', '.join(missing)}")
    return {output: digest_path(folder / output) for output in outputs}


def describe_inputs(inputs: Mapping[str, Path | str | None]) -> dict[str, dict[str, Any]]:
    """Path, size and SHA-256 of each input file or folder, by role; None values are dropped."""
    described: dict[str, dict[str, Any]] = {}
    for role, given in inputs.items():
        if given is None:
            continue
        path = Path(given)
        if not path.exists():
            raise InputError("no such file", where=str(path), remedy="check the path")
        size = path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
        described[role] = {"path": str(path), "bytes": size, "sha256": digest_path(path)}
    return described


def package_versions() -> dict[str, str]:
    """Versions of the packages that results may depend on."""
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
        name: the artifact, e.g. ``"semantic_ids"``. command: the subcommand that made it.
        options: as resolved. seed: of the run. inputs: role -> path, bytes, sha256.
        upstream: artifact name -> its identity. outputs: path in the workspace -> sha256.
        details: facts that later stages rely on. counts, metrics: what the stage reported.
        request: digest of (command, options, seed, inputs, upstream): "is this done already?"
        run: seconds, peak memory, times, versions, device; not part of ``digest``.
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
        """Identity of the artifact: equal for equal work on equal data."""
        content = {key: value for key, value in asdict(self).items() if key not in ("run", "inputs")}
        content["inputs"] = {role: entry["sha256"] for role, entry in self.inputs.items()}
        return canonical_digest(content)

    @property
    def identity(self) -> str:
        """What downstream artifacts record as their upstream.

        The digest, unless the stage says in ``details["identity"]`` what of it they rest on (semantic IDs that gain
        items keep the identity of their first batch).
        """
        return str(self.details.get("identity", self.digest))

    @property
    def seconds(self) -> float:
        """Wall time of the stage."""
        return float(self.run.get("seconds", 0.0))

    def to_json(self) -> dict[str, Any]:
        """As the JSON object that is written."""
        return {"format": FORMAT, "digest": self.digest, **asdict(self)}

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> Manifest:
        """The manifest in a JSON object; other keys are passed over.

        Raises:
            KeyError, TypeError: it is no manifest.
        """
        return cls(**{key: payload[key] for key in cls.__dataclass_fields__})

    def difference(self, request: Mapping[str, Any]) -> str:
        """Say in words how this artifact's making differs from ``request``."""
        changes = [
            f"{key} {self.options.get(key)!r} -> {request['options'].get(key)!r}"
            for key in sorted({*self.options, *request["options"]})
            if self.options.get(key) != request["options"].get(key)
        ]
        if self.seed != request["seed"]:
            changes.append(f"seed {self.seed} -> {request['seed']}")
        mine = {role: entry["sha256"] for role, entry in self.inputs.items()}
        changes += [
            f"input {role} differs"
            for role in sorted({*mine, *request["inputs"]})
            if mine.get(role) != request["inputs"].get(role)
        ]
        changes += [
            f"{name} is another"
            for name in sorted({*self.upstream, *request["upstream"]})
            if self.upstream.get(name) != request["upstream"].get(name)
        ]
        if changes:
            return "with other inputs or options: " + "; ".join(changes)
        return "and its files were changed since"


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        InputError: the file is no manifest of ours, or is damaged.
    """
    remedy = "run the stage that wrote it again with --force"
    try:
        payload = json.loads(path.read_text("utf-8"))
        manifest = Manifest.from_json(payload)
        whole = payload.get("digest") == manifest.digest
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise InputError("this is no manifest of gti, or a damaged one", where=str(path), remedy=remedy) from cause
    if not whole:
        raise InputError("the manifest was edited or damaged", where=str(path), remedy=remedy)
    return manifest
