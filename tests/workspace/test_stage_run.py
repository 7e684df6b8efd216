"""What a stage is asked for and what it reports: digests of requests, and numbers that are not finite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
from gti_cli.workspace.clock import RunClock
from gti_cli.workspace.stage_run import StageRequest, StageRun

REQUEST = StageRequest(
    command="train",
    name="model",
    outputs=["model"],
    options={"b": 1, "a": [2, None]},
    seed=0,
    inputs={"items": {"path": "items.csv", "bytes": 3, "sha256": "abc"}},
    upstream={"semantic_ids": "xyz"},
    checkpoint=False,
)


@pytest.mark.parametrize("kind", ["counts", "metrics", "details", "measured"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_that_is_not_finite_is_named_and_the_work_is_kept(tmp_path: Path, kind: str, value: float) -> None:
    with (
        pytest.raises(InputError, match=r"thing: c has a result that is NaN or infinite: \w+, tasks\.1\.loss\."),
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


@pytest.mark.parametrize(
    "change",
    [
        {"command": "other"},
        {"options": {"b": 2, "a": [2, None]}},
        {"seed": 1},
        {"inputs": {"items": {"path": "items.csv", "bytes": 3, "sha256": "abd"}}},
        {"upstream": {"semantic_ids": "xyw"}},
    ],
)
def test_whatever_changes_the_result_changes_the_digest(change: dict[str, Any]) -> None:
    assert replace(REQUEST, **change).digest != REQUEST.digest


@pytest.mark.parametrize(
    "change",
    [
        {"options": {"a": [2, None], "b": 1}},
        {"inputs": {"items": {"path": "elsewhere/items.csv", "bytes": 3, "sha256": "abc"}}},
        {"outputs": ["model", "plot.png"]},
    ],
)
def test_paths_and_the_order_of_keys_do_not_change_the_digest(change: dict[str, Any]) -> None:
    assert replace(REQUEST, **change).digest == REQUEST.digest


def test_the_manifest_of_a_checkpoint_goes_inside_its_folder() -> None:
    assert REQUEST.manifest_path == "model.json"
    assert replace(REQUEST, checkpoint=True).manifest_path == "model/gti.json"


def test_a_run_has_no_result_before_it_has_finished(tmp_path: Path) -> None:
    run = StageRun(False, tmp_path / "files", tmp_path / "scratch", False, RunClock())
    assert run.path("x.txt") == tmp_path / "files" / "x.txt"
    with pytest.raises(RuntimeError, match="after the with block"):
        run.result()
