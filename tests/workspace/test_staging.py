"""What a stage that is run again leaves of its earlier outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest
from gti_cli.workspace.staging import left_over


def _stage(root: Path, *outputs: str) -> Manifest:
    with Workspace(root).stage("c", "thing", outputs, options={"outputs": outputs}, force=True) as run:
        for name in outputs:
            run.path(name).mkdir() if name == "folder" else run.path(name).write_text(name)
        if "folder" in outputs:
            (run.path("folder") / "inner").write_text("")
    return run.result()


def test_outputs_that_the_new_run_does_not_have_go_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    _stage(tmp_path, "a", "b", "edited", "folder")
    (tmp_path / "edited").write_text("by hand")
    (tmp_path / "other").write_text("the user's")
    _stage(tmp_path, "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gti", "a", "edited", "other", "thing.json"]


def test_killed_before_the_move_they_go_with_the_next_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stage(tmp_path, "a", "b")
    monkeypatch.setattr(Workspace, "_roll_forward", lambda self, staging: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        _stage(tmp_path, "a")
    monkeypatch.undo()
    assert (tmp_path / "b").exists()
    with Workspace(tmp_path).lock():
        pass
    assert not (tmp_path / "b").exists()


def test_nothing_outside_the_workspace_is_left_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    old = _stage(tmp_path / "ws", "a", "b")
    outside = {"../file": old.outputs["a"], str(tmp_path / "file"): old.outputs["a"]}
    strange = Manifest.from_json({**old.to_json(), "outputs": {**old.outputs, **outside}})
    assert left_over(tmp_path / "ws", strange, _stage(tmp_path / "new", "a")) == ["b"]
