"""A blend as an artifact of a workspace: ``blend.json`` and ``baselines.safetensors`` in one folder.

The checkpoints stay where they are. The blend holds their names and digests, and is refused where one has changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gti_cli import tables
from gti_cli.baselines.base import EMBEDDINGS
from gti_cli.baselines.run import LEARN_ITEMS
from gti_cli.baselines.stored.files import read_baselines
from gti_cli.baselines.stored.known_items import without_items
from gti_cli.blends.fit import Blend, MemberScores
from gti_cli.blends.language_model import LanguageModel, ModelSetting
from gti_cli.blends.members import BaselineMember, Member, ask_members
from gti_cli.checkpoints.finding import Checkpoint, check_same_ids, find_checkpoint
from gti_cli.checkpoints.new_tokens import code_ids
from gti_cli.errors import InputError
from gti_cli.tables import SemanticIDs
from gti_cli.tables.cold_start.held_out_items import read_held_out
from gti_cli.workspace import Workspace, write_json
from gti_cli.workspace.inputs import digest_input
from gti_cli.workspace.manifest import Manifest

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

COMMAND = "blend"  # of the manifest of a blend
BLEND_FILE, BASELINES_FILE = "blend.json", "baselines.safetensors"
_FORMAT = 1  # of blend.json; it grows when a reader of the old one would go wrong


@dataclass(frozen=True)
class MemberRecord:
    """Where a member is found again.

    Attributes:
        name: Name of the member.
        checkpoint: Name of a checkpoint in the workspace, or path of a folder. None: a baseline.
        identity: Identity of the checkpoint's manifest, or digest of the folder.
    """

    name: str
    checkpoint: str | None = None
    identity: str | None = None

    @classmethod
    def of_checkpoint(cls, name: str, found: Checkpoint) -> MemberRecord:
        """The record of a checkpoint that is on this machine."""
        if found.artifact is not None and found.manifest is not None:
            return cls(name, found.artifact, found.manifest.identity)
        return cls(name, str(Path(found.path).resolve()), digest_input(found.path))


@dataclass(frozen=True)
class StoredBlend:
    """What ``blend.json`` says.

    Attributes:
        blend: The blend of all members.
        without: For each member, the blend that was fitted without it.
        members: Where each member is found, in the order of the blend.
        list_length: Items of each member's list.
        filter_seen: Whether the blend was fitted with seen items left out.
    """

    blend: Blend
    without: dict[str, Blend]
    members: tuple[MemberRecord, ...]
    list_length: int
    filter_seen: bool

    def write(self, path: Path) -> None:
        """Write the file."""
        write_json(
            path,
            {
                "format": _FORMAT,
                "blend": self.blend.as_json(),
                "without": {name: blend.as_json() for name, blend in self.without.items()},
                "members": [asdict(member) for member in self.members],
                "list_length": self.list_length,
                "filter_seen": self.filter_seen,
            },
        )

    @classmethod
    def read(cls, path: Path) -> StoredBlend:
        """Read the file.

        Raises:
            InputError: When it cannot be read.
        """
        try:
            values = json.loads(path.read_text("utf-8"))
            if values["format"] != _FORMAT:
                raise ValueError(f"format {values['format']}, and this version of gti reads {_FORMAT}")
            without = {name: Blend.from_json(entry) for name, entry in values["without"].items()}
            members = tuple(MemberRecord(**entry) for entry in values["members"])
            blend = Blend.from_json(values["blend"])
            return cls(blend, without, members, int(values["list_length"]), bool(values["filter_seen"]))
        except (OSError, KeyError, ValueError, RecursionError, TypeError) as error:
            raise InputError(
                f"the blend cannot be read ({error})", where=str(path), remedy="run 'gti blend --force'"
            ) from error


def blend_name(space: Workspace, given: str | None) -> str | None:
    """The name of a blend of the workspace; None where ``given``, a name or a path, is something else."""
    if given is None:
        return None
    folder = Path(given)
    if folder.is_dir() and folder.resolve().parent == space.root.resolve():
        given = folder.resolve().name
    if Path(given).name != given or not space.path(given).is_dir():
        return None
    try:
        manifest = space.manifest(given)
    except InputError:
        return None  # whoever reads it as a checkpoint says what is wrong
    return given if manifest is not None and manifest.command == COMMAND else None


@dataclass(frozen=True)
class BlendSource:
    """A blend of a workspace, with its checkpoints found and checked.

    Attributes:
        space: The workspace.
        ids: Manifest of the workspace's semantic IDs.
        manifest: Manifest of the blend.
        stored: The blend.
        checkpoints: The checkpoints among the members, by name.
        catalogue: All items with their semantic IDs.
    """

    space: Workspace
    ids: Manifest
    manifest: Manifest
    stored: StoredBlend
    checkpoints: dict[str, Checkpoint]
    catalogue: SemanticIDs = field(repr=False)

    def open(self, device: torch.device, dtype: torch.dtype, batch_size: int = 32) -> OpenBlend:
        """Load the baselines, and prepare the language models, which are loaded when they are first asked.

        Raises:
            InputError: When a file cannot be read.
        """
        name = self.manifest.name
        read = read_baselines(
            self.space.path(name) / BASELINES_FILE,
            self.catalogue.row_of(),
            self.space.path(EMBEDDINGS),
            device,
            remedy=f"run 'gti blend --name {name} --force'",
        )
        row_of, held = self.catalogue.row_of(), read_held_out(self.space.path(name))
        hidden = np.asarray([row_of[item] for item in held.all if item in row_of] if held else [], dtype=np.int64)
        setting = ModelSetting(
            self.catalogue, self.ids.details["sizes"], device, dtype, batch_size, self.space.path(EMBEDDINGS)
        )
        members: list[Member] = []
        for record in self.stored.members:
            if record.checkpoint is None:
                baseline = read.baselines[record.name]
                if len(hidden) and record.name in LEARN_ITEMS:
                    baseline = without_items(baseline, hidden, len(row_of))
                members.append(BaselineMember(record.name, baseline, len(self.catalogue.item_ids)))
            else:
                members.append(LanguageModel(record.name, self.checkpoints[record.name], setting))
        return OpenBlend(self.stored, members, read.counts)


@dataclass(frozen=True)
class OpenBlend:
    """A blend that is ready to recommend.

    Attributes:
        stored: The blend.
        members: Its members, in its order.
        counts: (N,) training interactions of each item.
    """

    stored: StoredBlend
    members: Sequence[Member]
    counts: Floats

    def ask(
        self,
        histories: list[list[int]],
        *,
        filter_seen: bool,
        k: int,
        allowed: Mask | None = None,
        folder: Path | None = None,
    ) -> MemberScores:
        """Ask the members; see `ask_members`. Lists are as long as in the fit, longer only where ``k`` is larger."""
        return ask_members(
            self.members,
            histories,
            self.counts,
            list_length=max(self.stored.list_length, k),
            filter_seen=filter_seen,
            allowed=allowed,
            folder=folder,
        )


def find_blend(space: Workspace, name: str) -> BlendSource:
    """Find a blend of a workspace, and check that everything it was made from is as it was.

    Args:
        space: The workspace.
        name: From `blend_name`.

    Raises:
        InputError: When a file is missing or was edited, or a checkpoint or the semantic IDs are others by now.
    """
    ids = space.require("semantic_ids", "gti build-ids")
    manifest = space.require(name, f"gti blend --name {name}")
    stored = StoredBlend.read(space.path(name) / BLEND_FILE)
    if manifest.upstream.get("semantic_ids") != ids.identity:
        raise InputError(
            "the blend was made from other semantic IDs than this workspace holds now",
            where=str(space.path(name)),
            remedy=f"run 'gti blend --name {name} --force' again",
        )
    checkpoints = {}
    for record in stored.members:
        if record.checkpoint is None:
            continue
        found = find_member_checkpoint(space, record.checkpoint, ids)
        if MemberRecord.of_checkpoint(record.name, found) != record:
            raise InputError(
                f"the blend was fitted with another {record.name!r} than is there now",
                where=str(space.path(name)),
                remedy=f"run 'gti blend --name {name} --force' again",
            )
        checkpoints[record.name] = found
    catalogue = tables.read_semantic_ids(space.path("semantic_ids.parquet"))
    return BlendSource(space, ids, manifest, stored, checkpoints, catalogue)


def find_member_checkpoint(space: Workspace, given: str, ids: Manifest) -> Checkpoint:
    """Find a checkpoint that is to be a member.

    Args:
        space: The workspace.
        given: Name in the workspace, or path.
        ids: Manifest of the workspace's semantic IDs.

    Raises:
        InputError: When there is none, or it does not have the codes of the semantic IDs.
    """
    found = find_checkpoint(space, given, given, "gti finetune", hub=False)
    if not found.local:
        raise InputError(f"there is no checkpoint {given!r} on this machine", remedy="run 'gti finetune' first")
    check_same_ids(found, ids)
    code_ids(found.item_tokens(), ids.details["sizes"])
    return found


def inputs_of(checkpoints: Mapping[str, Checkpoint]) -> tuple[dict[str, Manifest], dict[str, str]]:
    """The arguments ``upstream`` and ``inputs`` of `Workspace.stage` for checkpoints, by name."""
    upstream: dict[str, Manifest] = {}
    inputs: dict[str, str] = {}
    for name, found in checkpoints.items():
        upstream.update(found.upstream())
        inputs.update({f"{role} {name}": path for role, path in found.inputs().items()})
    return upstream, inputs
