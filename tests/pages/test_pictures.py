"""Which pictures belong to an artifact, and their captions."""

from __future__ import annotations

from pathlib import Path

from gti_cli.pages.pictures import CAPTIONS, pictures_of
from gti_cli.workspace import Workspace
from tests.support.commands import make_manifest
from tests.support.pages import add_checkpoint, png


def titles(space: Workspace, name: str, *others: str) -> list[str]:
    manifests = {other: make_manifest(other) for other in (name, *others)}
    return [entry.title for entry in pictures_of(space, manifests[name], manifests)]


def test_pictures_beside_an_artifact_belong_to_the_longest_name(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    (tmp_path / "evaluation" / "x").mkdir(parents=True)
    for name in (
        "a_training",
        "a_b_training",
        "a_own",
        "semantic_ids",
        "rqvae_history",
        "evaluation/x_slices",
        "evaluation/x_accuracy",
    ):
        (tmp_path / f"{name}.png").write_bytes(png())
    (tmp_path / "evaluation" / "x" / "later.png").write_bytes(png())
    (tmp_path / "a_broken.png").write_bytes(b"")
    assert titles(space, "a", "a_b") == [CAPTIONS["training"][0], "own"]
    assert titles(space, "a_b", "a") == [CAPTIONS["training"][0]]
    assert titles(space, "semantic_ids") == [CAPTIONS["semantic_ids"][0], CAPTIONS["rqvae_history"][0]]
    assert titles(space, "evaluation/x") == [CAPTIONS["accuracy"][0], CAPTIONS["slices"][0], "later"]


def test_the_curves_of_a_grounding_are_drawn_where_there_is_no_picture(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    curve = {"step": [0, 1], "loss": [None, 2.0], "loss_to_tokens": [3.0, 2.5]}
    manifest = add_checkpoint(space, "ground", "grounded", {}, details={"new_tokens": 8}, curve=curve)
    (drawn,) = pictures_of(space, manifest, {"grounded": manifest})
    assert drawn.title == CAPTIONS["curves"][0] and drawn.picture.width > 500
    (tmp_path / "grounded_curves.png").write_bytes(png(9, 5))
    (stored,) = pictures_of(space, manifest, {"grounded": manifest})
    assert (stored.picture.width, stored.picture.height) == (9, 5)
    bare = add_checkpoint(space, "ground", "bare", {})
    assert pictures_of(space, bare, {"bare": bare}) == []
