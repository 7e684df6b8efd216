"""What a card tells about a checkpoint's past: the stages that made it, their inputs, options and figures.

Everything comes from manifests. Of an input, the name of the file and its digest are told, never its folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest

DIGEST_LETTERS = 16  # of a SHA-256, which are enough to tell two files apart


@dataclass(frozen=True)
class StageLine:
    """A stage as the card lists it.

    Attributes:
        command: The command without ``gti``.
        name: Name of the artifact.
        seed: Seed of the run.
        options: Options that determine the result, as text.
    """

    command: str
    name: str
    seed: int
    options: str


@dataclass(frozen=True)
class InputLine:
    """An input file as the card lists it.

    Attributes:
        command: The stage that read it.
        role: What it was to the stage, such as ``interactions``.
        file: Its name, or its address on the hub.
        digest: First letters of its SHA-256.
    """

    command: str
    role: str
    file: str
    digest: str


def lineage_of(space: Workspace, manifest: Manifest) -> list[Manifest]:
    """List an artifact's manifest behind those of the artifacts that it was made from, as far as they still exist.

    Args:
        space: The workspace.
        manifest: Manifest of the artifact.
    """
    lineage: dict[str, Manifest] = {}

    def visit(current: Manifest) -> None:
        """Add what an artifact was made from, then the artifact itself."""
        for name, identity in sorted(current.upstream.items()):
            try:
                upstream = space.manifest(name)
            except InputError:  # damaged: `gti status` says so
                continue
            if upstream is not None and upstream.identity == identity and name not in lineage:
                visit(upstream)
        lineage[current.name] = current

    visit(manifest)
    return list(lineage.values())


def stage_lines(lineage: Sequence[Manifest]) -> list[StageLine]:
    """Describe the stages, in the order in which they ran."""
    return [StageLine(m.command, m.name, m.seed, option_text(m.options)) for m in lineage]


def input_lines(lineage: Sequence[Manifest]) -> list[InputLine]:
    """Describe the input files of all stages; a file that several stages read stands there once for each."""
    return [
        InputLine(manifest.command, role, public_name(entry["path"]), entry["sha256"][:DIGEST_LETTERS])
        for manifest in lineage
        for role, entry in sorted(manifest.inputs.items())
    ]


def public_name(path: str) -> str:
    """Return the name of a file without its folder; an address on the Hugging Face hub stays whole."""
    if path.startswith("hf://"):
        return path
    return Path(path.split("?")[0]).name if "://" in path else Path(path).name


def option_text(options: Mapping[str, Any]) -> str:
    """Write options as text, without those that are not set."""
    return ", ".join(
        f"{name} {_value_text(value)}"
        for name, value in sorted(options.items())
        if value is not None and value is not False and value != []
    )


def figures(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the plain numbers among counts or metrics, as text by name."""
    numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
    return {name: number_text(value) for name, value in sorted(numbers.items()) if not isinstance(value, bool)}


def number_text(value: float) -> str:
    """Write a number: whole ones with separators, others with four significant digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _value_text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_value_text, value))
    if isinstance(value, Mapping):
        return f"({option_text(value)})"
    if value is True:
        return "yes"
    # No option of the stages that make checkpoints is a path today; one that comes later must not tell a folder.
    return public_name(value) if isinstance(value, str) and Path(value).is_absolute() else str(value)
