"""Which members a blend may have."""

from __future__ import annotations

import pytest

from gti_cli.blending.choose_members import choose_members
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
from tests.support.blends import Blended


def test_names_and_paths(blended: Blended, monkeypatch: pytest.MonkeyPatch) -> None:
    space = Workspace(blended.world.workspace)
    ids = space.require("semantic_ids", "gti build-ids")
    by_name = choose_members(space, ["sasrec", "finetuned", "item-knn"], ids)
    assert by_name.names == ("sasrec", "finetuned", "item-knn") and by_name.baselines == ["sasrec", "item-knn"]
    by_path = choose_members(space, [str(space.path("finetuned")), "item-knn"], ids)
    assert by_path.names == ("finetuned", "item-knn")
    assert by_path.checkpoints["finetuned"].manifest == by_name.checkpoints["finetuned"].manifest
    monkeypatch.chdir(space.path("finetuned"))
    assert choose_members(Workspace(space.root.absolute()), [".", "item-knn"], ids).names == by_path.names


@pytest.mark.parametrize(
    "given, said",
    [
        ([], "--of names 0 members, and a blend mixes at least two"),
        (["finetuned"], "--of names 1 member, and a blend mixes at least two"),
        (["item-knn", "item-knn"], "names 'item-knn' twice"),
        (["finetuned", "itemknn"], r"'itemknn'.*Baselines: popularity, item-knn, .*; checkpoints: finetuned"),
        (["blend", "item-knn"], "'blend' is a blend of several recommenders"),
    ],
)
def test_refused(blended: Blended, given: list[str], said: str) -> None:
    space = Workspace(blended.world.workspace)
    with pytest.raises(InputError, match=said):
        choose_members(space, given, space.require("semantic_ids", "gti build-ids"))
