"""A blend as an artifact: what is read again, and when it is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gti_cli.blends.stored_blend import StoredBlend, blend_name, find_blend
from gti_cli.checkpoints.finding import find_checkpoint
from gti_cli.checkpoints.hub import checkpoint_names
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
from tests.support.blends import LIST_LENGTH, MEMBERS, Blended
from tests.support.evaluation import add_checkpoint, add_semantic_ids


@pytest.fixture
def space(blended: Blended, tmp_path: Path) -> Workspace:
    """A copy that a test may damage."""
    shutil.copytree(blended.world.workspace, tmp_path / "space")
    return Workspace(tmp_path / "space")


def test_what_is_written_is_read(blended: Blended, tmp_path: Path) -> None:
    source = find_blend(Workspace(blended.world.workspace), "blend")
    stored = source.stored
    assert tuple(record.name for record in stored.members) == stored.blend.members == MEMBERS
    assert [record.checkpoint for record in stored.members] == ["finetuned", None, None]
    assert stored.list_length == LIST_LENGTH and not stored.filter_seen
    assert {name: set(blend.members) for name, blend in stored.without.items()} == {
        name: set(MEMBERS) - {name} for name in MEMBERS
    }
    stored.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (blended.world.workspace / "blend/blend.json").read_bytes()


def test_a_blend_is_known_by_its_manifest(blended: Blended, monkeypatch: pytest.MonkeyPatch) -> None:
    space = Workspace(blended.world.workspace)
    assert blend_name(space, "blend") == blend_name(space, str(space.path("blend"))) == "blend"
    assert [blend_name(space, name) for name in (None, "finetuned", "semantic_ids", "gpt2", "a/b")] == [None] * 5
    assert checkpoint_names(space) == ["finetuned"]
    with pytest.raises(InputError, match="'blend' is a blend of several recommenders, and no checkpoint"):
        find_checkpoint(space, "blend", "grounded", "gti ground")


def test_what_has_changed_since_is_refused(space: Workspace) -> None:
    ids = space.require("semantic_ids", "gti build-ids")
    shutil.rmtree(space.path("finetuned"))
    add_checkpoint(space, ids, seed=1)
    with pytest.raises(InputError, match="fitted with another 'finetuned' than is there now"):
        find_blend(space, "blend")
    codes = find_codes(space)
    add_semantic_ids(space, codes, identity="others")
    with pytest.raises(InputError, match="made from other semantic IDs"):
        find_blend(space, "blend")


def find_codes(space: Workspace) -> object:
    from gti_cli import tables

    return tables.read_semantic_ids(space.path("semantic_ids.parquet")).codes


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "blend.json"
    for text in ("{", "{}", json.dumps({"format": 99})):
        path.write_text(text)
        with pytest.raises(InputError, match=r"the blend cannot be read .*gti blend --force"):
            StoredBlend.read(path)
