"""The workspace: atomic stages, lineage, refusal, resume after a kill, one writer at a time."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.workspace import Workspace, check_output_name, write_json
from gti_cli.workspace.manifest import Manifest, read_manifest
from tests.support.stages import run_stage


def test_first_run_writes_outputs_and_manifest(tmp_path: Path) -> None:
    done, manifest = run_stage(tmp_path)
    assert not done
    assert (tmp_path / "thing.txt").read_text() == "one"
    assert read_manifest(tmp_path / "thing.json") == manifest
    assert manifest.counts == {"letters": 3}
    assert manifest.run["letters_per_second"] > 0
    assert manifest.run["versions"]["torch"]
    assert not list((tmp_path / ".gti").glob("staging/*"))


def test_same_request_does_nothing(tmp_path: Path) -> None:
    _, first = run_stage(tmp_path)
    written = (tmp_path / "thing.txt").stat().st_mtime_ns
    done, second = run_stage(tmp_path)
    assert done
    assert second == first
    assert (tmp_path / "thing.txt").stat().st_mtime_ns == written


def test_missing_input_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        run_stage(tmp_path, inputs={"items": tmp_path / "absent.csv"})


def test_edited_output_is_made_again_only_by_force(tmp_path: Path) -> None:
    run_stage(tmp_path)
    (tmp_path / "thing.txt").write_text("edited")
    with pytest.raises(InputError, match="files were changed since"):
        run_stage(tmp_path)
    with pytest.raises(InputError, match="was changed after"):
        Workspace(tmp_path).require("thing", "gti make-thing")
    assert run_stage(tmp_path, force=True)[0] is False
    assert (tmp_path / "thing.txt").read_text() == "one"


def test_require_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Run 'gti make-thing' first"):
        Workspace(tmp_path).require("thing", "gti make-thing")
    run_stage(tmp_path)
    (tmp_path / "thing.txt").unlink()
    with pytest.raises(InputError, match="is missing"):
        Workspace(tmp_path).require("thing", "gti make-thing")


def test_failure_leaves_nothing_half_written_and_the_old_output(tmp_path: Path) -> None:
    run_stage(tmp_path)
    with (
        pytest.raises(InputError),
        Workspace(tmp_path).stage("make-thing", "thing", ["thing.txt"], options={"text": "two"}, force=True) as run,
    ):
        run.path("thing.txt").write_text("half")
        raise InputError("bad row")
    assert (tmp_path / "thing.txt").read_text() == "one"
    assert not list((tmp_path / ".gti").glob("staging/*"))


def test_interrupted_work_is_resumed_by_the_same_request_only(tmp_path: Path) -> None:
    def attempt(text: str, fail: bool, resume: bool = True) -> bool:
        with Workspace(tmp_path).stage(
            "make-thing", "thing", ["thing.txt"], options={"text": text}, resume=resume
        ) as run:
            resuming = run.resuming
            (run.scratch / "step").write_text(text)
            if fail:
                raise KeyboardInterrupt
            run.path("thing.txt").write_text(text)
        return resuming

    with pytest.raises(KeyboardInterrupt):
        attempt("one", fail=True)
    with pytest.raises(KeyboardInterrupt):
        attempt("other", fail=True)  # another request: starts over, and is now the interrupted one
    with pytest.raises(KeyboardInterrupt):
        attempt("one", fail=True)
    assert attempt("one", fail=False) is True
    assert not list((tmp_path / ".gti").glob("staging/*"))


@pytest.mark.parametrize("kind", ["counts", "metrics", "details", "measured"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_no_number_is_named_and_costs_no_work(tmp_path: Path, kind: str, value: float) -> None:
    with (
        pytest.raises(
            InputError, match=r"thing: c ended with a figure that is no finite number: \w+, tasks\.1\.loss\."
        ),
        Workspace(tmp_path).stage("c", "thing", ["thing.txt"], options={}) as run,
    ):
        (run.scratch / "step").write_text("1")
        run.path("thing.txt").write_text("x")
        getattr(run, kind).update(fine=1.0, tasks=[{"loss": 0.5}, {"loss": value, "n": None}])
    assert not (tmp_path / "thing.txt").exists()
    with Workspace(tmp_path).stage("c", "thing", ["thing.txt"], options={}) as run:
        assert run.resuming
        run.path("thing.txt").write_text("x")
    assert not list((tmp_path / ".gti").glob("staging/*"))


def test_no_resume_starts_over(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Workspace(tmp_path).stage("c", "thing", ["thing.txt"], options={}) as run:
        (run.scratch / "step").write_text("1")
        raise KeyboardInterrupt
    with Workspace(tmp_path).stage("c", "thing", ["thing.txt"], options={}, resume=False) as run:
        assert not run.resuming
        assert not list(run.scratch.iterdir())
        run.path("thing.txt").write_text("x")


def test_kill_between_commit_and_move_is_rolled_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_stage(tmp_path)
    # As if killed right after COMMIT.json was written.
    monkeypatch.setattr(Workspace, "_roll_forward", lambda self, staging: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        run_stage(tmp_path, "two", force=True)
    monkeypatch.undo()
    assert (tmp_path / "thing.txt").read_text() == "one"
    with Workspace(tmp_path).lock():
        pass
    assert (tmp_path / "thing.txt").read_text() == "two"
    assert run_stage(tmp_path, "two")[0] is True


def test_kill_in_the_middle_of_the_move_is_rolled_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stage(force: bool) -> None:
        with Workspace(tmp_path).stage("c", "pair", ["a.txt", "b"], options={"n": force}, force=force) as run:
            run.path("a.txt").write_text(f"a{force}")
            run.path("b").mkdir()
            (run.path("b") / "inner.txt").write_text(f"b{force}")

    stage(False)
    moves = []

    def replace_once(self: Path, target: Path) -> Path:
        if self.name == "b":
            raise SystemExit  # killed after the first of two moves
        moves.append(self.name)
        return original(self, target)

    original = Path.replace
    monkeypatch.setattr(Path, "replace", replace_once)
    with pytest.raises(SystemExit):
        stage(True)
    monkeypatch.undo()
    assert "a.txt" in moves
    with Workspace(tmp_path).lock():
        pass
    assert (tmp_path / "a.txt").read_text() == "aTrue"
    assert (tmp_path / "b" / "inner.txt").read_text() == "bTrue"
    assert Workspace(tmp_path).require("pair", "c").options == {"n": True}


def _hold(root: str, ready: Any, leave: Any) -> None:
    with Workspace(root).lock():
        ready.set()
        leave.wait(30)


def test_second_writer_is_refused_and_a_killed_one_does_not_block(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), ready, leave))
    other.start()
    assert ready.wait(30)
    with pytest.raises(InputError, match="another gti process"):
        run_stage(tmp_path)
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    assert run_stage(tmp_path)[0] is False


def test_same_work_gives_the_same_digest_in_another_folder(tmp_path: Path) -> None:
    _, first = run_stage(tmp_path / "a")
    _, second = run_stage(tmp_path / "b")
    assert first.digest == second.digest
    assert run_stage(tmp_path / "c", "other")[1].digest != first.digest


def test_checkpoint_manifest_lies_inside_and_survives_verification(tmp_path: Path) -> None:
    def make() -> Manifest:
        with Workspace(tmp_path).stage("extend", "extended", ["extended"], options={}, checkpoint=True) as run:
            if not run.done:
                run.path("extended").mkdir()
                (run.path("extended") / "config.json").write_text("{}")
        return run.result()

    manifest = make()
    assert (tmp_path / "extended" / "gti.json").is_file()
    assert Workspace(tmp_path).require("extended", "gti extend") == manifest
    assert make() == manifest


def test_grouped_artifacts_are_listed_in_order(tmp_path: Path) -> None:
    run_stage(tmp_path, name="first")
    with Workspace(tmp_path).stage("evaluate", "evaluation/x", ["evaluation/x"], options={}) as run:
        run.path("evaluation/x").mkdir(parents=True)
        (run.path("evaluation/x") / "metrics.json").write_text("{}")
    assert list(Workspace(tmp_path).manifests()) == ["first", "evaluation/x"]


def test_unwritable_workspace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        run_stage(tmp_path / "file" / "w")


def test_read_only_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")  # root, as in a container, may write everywhere

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(InputError, match="cannot write in the workspace: Permission denied"):
        run_stage(tmp_path)


def test_write_json_is_stable_and_strict(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    write_json(tmp_path / "b.json", {"a": [2], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "c.json", {"x": float("nan")})
    assert not (tmp_path / "c.json").exists()


def test_damaged_manifest_is_reported(tmp_path: Path) -> None:
    run_stage(tmp_path)
    path = tmp_path / "thing.json"
    payload = json.loads(path.read_text())
    path.write_text(json.dumps({**payload, "seed": 7}))
    with pytest.raises(InputError, match="edited or damaged"):
        read_manifest(path)
    path.write_text("{")
    with pytest.raises(InputError, match="no manifest"):
        read_manifest(path)


@pytest.mark.parametrize("damage", ["{}", "{", '{"seed": 7}'])
def test_force_makes_an_artifact_with_a_damaged_manifest_anew(tmp_path: Path, damage: str) -> None:
    run_stage(tmp_path)
    path = tmp_path / "thing.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | json.loads(damage)) if "seed" in damage else damage)
    with pytest.raises(InputError, match=r"damaged.*Run the stage that wrote it again with --force"):
        run_stage(tmp_path)
    assert run_stage(tmp_path, force=True)[0] is False
    assert read_manifest(path).seed == 0


def test_outputs_get_the_permissions_of_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with Workspace(tmp_path).stage("c", "thing", ["thing"], options={}) as run:
            run.path("thing").mkdir()
            (run.path("thing") / "weights").write_text("")
            (run.path("thing") / "weights").chmod(0o600)
    finally:
        os.umask(old)
    assert (tmp_path / "thing" / "weights").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../escaped", "a/b", "/tmp/x", ".hidden", "semantic_ids", "evaluation"]
)
def test_output_names_stay_in_the_workspace_and_off_other_stages(name: str) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        check_output_name(name, default="grounded")


def test_output_names_that_are_allowed() -> None:
    check_output_name("mean-2.seed_1", default="grounded", start="extended")
    check_output_name("extended", default="extended")
    with pytest.raises(InputError, match="start from"):
        check_output_name("mean", default="finetuned", start="mean")
