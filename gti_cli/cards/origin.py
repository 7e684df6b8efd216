"""Where a checkpoint comes from, as the hub's metadata name it: the base model, its licence, and data sets of the hub.

The sources are the name of the base model, the card beside it, and the manifests of the stages before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gti_cli import console
from gti_cli.checkpoints.hub import file_of_checkpoint
from gti_cli.errors import first_line
from gti_cli.workspace.sealed import CARD

if TYPE_CHECKING:
    from gti_cli.checkpoints.finding import Checkpoint
    from gti_cli.workspace.manifest import Manifest

OTHER, UNKNOWN = "other", "unknown"  # license and license_name where nobody knows the licence
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")  # how the hub writes licences, such as apache-2.0
_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_HUB_DATA = re.compile(r"hf://(?:datasets/)?([\w.-]+/[\w.-]+)")
_CACHE_PREFIX = "models--"  # folders of the hub's cache are named models--OWNER--NAME


@dataclass(frozen=True)
class Origin:
    """What the metadata of a card take from the checkpoint that a stage started from.

    Attributes:
        base_model: Name of the base model on the hub (None: it is not known to be there).
        license: Licence as the hub writes it; `OTHER` with a name beside it where the hub has no short form.
        license_name: Name of such a licence.
        license_link: Address of such a licence.
        datasets: Data sets of the hub that the checkpoint was made from.
    """

    base_model: str | None
    license: str
    license_name: str | None
    license_link: str | None
    datasets: Sequence[str]


def origin_of(start: Checkpoint | None, lineage: Sequence[Manifest], *, is_itself: bool = False) -> Origin:
    """Find out where a checkpoint comes from.

    Args:
        start: What the stage started from (None: not known any more).
        lineage: Manifests of the checkpoint and of what it was made from.
        is_itself: ``start`` is the checkpoint itself, with a card that `gti` wrote.
    """
    metadata = read_metadata(start) if start is not None else {}
    base_model = None if start is None or is_itself else hub_name(start)
    # Of a checkpoint of gti, the card says what the base model is. So does the card of a model that lies in a folder.
    base_model = base_model or _first_name(metadata.get("base_model")) or _extended_from_hub(lineage)
    licence = _licence(metadata, start, base_model)
    return Origin(base_model, *licence, datasets=hub_datasets(metadata, lineage))


def hub_name(start: Checkpoint) -> str | None:
    """Return the name of a checkpoint on the hub; None for a folder outside the hub's cache."""
    if not start.local:
        return start.path
    for part in Path(start.path).absolute().parts:
        if part.startswith(_CACHE_PREFIX):
            return part.removeprefix(_CACHE_PREFIX).replace("--", "/")
    return None


def read_metadata(start: Checkpoint) -> Mapping[str, Any]:
    """Read the metadata of the card beside a checkpoint; empty where there is none, or one that cannot be read."""
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    card = _local_card(start) if start.local else _hub_card(start.path)
    if card is None:
        return {}
    try:
        return metadata_load(card) or {}
    except (OSError, ValueError, RecursionError, YAMLError) as error:
        console.note(f"{card}: the metadata cannot be read, so the new model card is made without: {first_line(error)}")
        return {}


def hub_datasets(metadata: Mapping[str, Any], lineage: Iterable[Manifest]) -> list[str]:
    """List the data sets of the hub that a card and the inputs of manifests name, each once.

    Args:
        metadata: Metadata of the card that the stage started from.
        lineage: Manifests of the checkpoint and of what it was made from.
    """
    listed = metadata.get("datasets")
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    paths = [entry["path"] for manifest in lineage for entry in manifest.inputs.values()]
    names += [match[1] for path in paths if (match := _HUB_DATA.match(path))]
    return list(dict.fromkeys(names))


def _local_card(start: Checkpoint) -> Path | None:
    path = Path(start.path)
    card = (path.parent if path.is_file() else path) / CARD  # a GGUF file has its card beside it
    return card if card.is_file() else None


def _hub_card(name: str) -> str | None:
    """Return the path of a hub model's card in the cache, downloaded if it can be; None without one."""
    card = file_of_checkpoint(name, False, CARD)
    return str(card) if card is not None else None


def _first_name(value: Any) -> str | None:
    """Return the first name of a base model that can be one on the hub; a path of somebody's machine cannot."""
    names = value if isinstance(value, list) else [value]
    return next((name for name in names if isinstance(name, str) and _HUB_NAME.fullmatch(name)), None)


def _extended_from_hub(lineage: Iterable[Manifest]) -> str | None:
    """Return the hub name of the model that `gti extend` started from, if its manifest has one."""
    names = [manifest.options.get("model") for manifest in lineage if manifest.command == "extend"]
    return next((str(name) for name in names if name), None)


def _licence(
    metadata: Mapping[str, Any], start: Checkpoint | None, base_model: str | None
) -> tuple[str, str | None, str | None]:
    """Return ``license``, ``license_name`` and ``license_link`` from a card, else from a configuration."""
    given = metadata.get("license") or _configured_licence(start)
    given = given[0] if isinstance(given, list) and given else given
    if not isinstance(given, str) or not given.strip():
        return OTHER, UNKNOWN, None
    short = given.strip().lower()
    if not _LICENSE.fullmatch(short):
        return OTHER, re.sub(r"[^a-z0-9.]+", "-", short).strip("-") or UNKNOWN, None
    if short != OTHER:
        return short, None, None
    link = str(metadata.get("license_link") or "")
    if link and "://" not in link:  # a file beside the card of the base model
        link = f"https://huggingface.co/{base_model}/blob/main/{link}" if base_model else ""
    return OTHER, str(metadata.get("license_name") or UNKNOWN), link or None


def _configured_licence(start: Checkpoint | None) -> Any:
    """Return the field ``license`` of a local checkpoint's configuration, which a few models have."""
    if start is None or not start.local:
        return None
    try:
        return json.loads((Path(start.path) / "config.json").read_text("utf-8")).get("license")
    except (OSError, ValueError, RecursionError, AttributeError):
        return None
