"""The workspace: atomic stages, lineage, refusal, resume after a kill, one writer at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
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


def test_force_makes_the_same_request_again(tmp_path: Path) -> None:
    _, first = run_stage(tmp_path)
    done, second = run_stage(tmp_path, force=True)
    assert not done and second.run != first.run  # it worked again
    assert (second.identity, second.outputs) == (first.identity, first.outputs)
    assert run_stage(tmp_path)[0]


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


def test_no_resume_starts_over(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Workspace(tmp_path).stage("c", "thing", ["thing.txt"], options={}) as run:
        (run.scratch / "step").write_text("1")
        raise KeyboardInterrupt
    with Workspace(tmp_path).stage("c", "thing", ["thing.txt"], options={}, resume=False) as run:
        assert not run.resuming
        assert not list(run.scratch.iterdir())
        run.path("thing.txt").write_text("x")


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
