"""What a recommender reads from a workspace."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.recommender.files import read_lookup, read_workspace
from gti_cli.recommender.results import TrainedOn
from gti_cli.workspace import Workspace
from tests.support.evaluation import SIZES, World


def test_a_checkpoint_and_its_catalogue(small_world: World) -> None:
    files = read_workspace(Workspace(small_world.workspace), None)
    assert files.name == "finetuned" and list(files.sizes) == SIZES and files.blend is None
    assert files.titles["i4"] == "Dress number 4" and files.catalogue.item_ids == small_world.item_ids
    assert files.embeddings == small_world.workspace / "embeddings.safetensors"
    assert files.trained_on == TrainedOn(None, None)  # the manifests of this workspace do not tell
    by_path = read_workspace(Workspace(small_world.workspace), str(small_world.workspace / "finetuned"))
    assert by_path.checkpoint == files.checkpoint


def test_a_catalogue_needs_no_checkpoint(small_world: World) -> None:
    assert read_lookup(Workspace(small_world.workspace)).titles["i4"] == "Dress number 4"


def test_what_is_missing_is_said(small_world: World, tmp_path: Path) -> None:
    for read in (lambda: read_workspace(Workspace(tmp_path), None), lambda: read_lookup(Workspace(tmp_path))):
        with pytest.raises(InputError, match="semantic_ids"):
            read()
    with pytest.raises(InputError, match="no such folder"):
        read_workspace(Workspace(small_world.workspace), "./absent")
