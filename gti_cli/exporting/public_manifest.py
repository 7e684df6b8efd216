"""Manifests without the paths of the machine on which they were written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any

from gti_cli.cards.history import public_name
from gti_cli.workspace.manifest import Manifest

# Texts for the model in the files of transformers: a token such as "/" is no path.
_TEXTS = {
    *("added_tokens_decoder", "additional_special_tokens", "chat_template", "extra_special_tokens"),
    *("model_specific_special_tokens", "stop_strings"),
}


def without_paths(value: Any) -> Any:
    """Return a JSON value in which each absolute path is replaced by the name of its file.

    Tokens and chat templates are left as they are.
    """
    if isinstance(value, dict):
        return {
            key: entry if key in _TEXTS or key.endswith("_token") else without_paths(entry)
            for key, entry in value.items()
        }
    if isinstance(value, list):
        return [without_paths(entry) for entry in value]
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    if isinstance(value, str) and PureWindowsPath(value).is_absolute():
        return PureWindowsPath(value).name
    return value


def public_manifest(manifest: Manifest) -> Manifest:
    """Return a manifest in which inputs are names of files, and no value is an absolute path.

    Its digest stays that of the manifest where options and details hold no paths: the paths of inputs do not count.
    """
    inputs = {role: {**entry, "path": public_name(entry["path"])} for role, entry in manifest.inputs.items()}
    values = {
        name: without_paths(getattr(manifest, name)) for name in ("options", "details", "counts", "metrics", "run")
    }
    return replace(manifest, inputs=inputs, **values)


def stage_entries(lineage: Sequence[Manifest]) -> list[dict[str, Any]]:
    """Describe the stages that made an artifact, for the manifest of an exported folder.

    Args:
        lineage: Their manifests, the first stage first.
    """
    return [
        {
            "command": manifest.command,
            "name": manifest.name,
            "seed": manifest.seed,
            "options": manifest.options,
            "inputs": manifest.inputs,
            "counts": manifest.counts,
            "finished": manifest.run.get("finished"),
            "versions": manifest.run.get("versions", {}),
            "digest": manifest.digest,
        }
        for manifest in map(public_manifest, lineage)
    ]
