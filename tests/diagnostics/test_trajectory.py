import json
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from gti_cli import tables
from gti_cli.checkpoints.new_tokens import NEW_TOKENS_FILE
from gti_cli.diagnostics.checkpoint_rows import read_checkpoint
from gti_cli.diagnostics.diagnose import diagnose
from gti_cli.diagnostics.timeline import TimelineCheckpoint
from gti_cli.diagnostics.trajectory import add_persistence, lines
from gti_cli.errors import InputError
from gti_cli.geometry.persistence import cka, moved, row_cosine
from gti_cli.workspace import Workspace
from tests.support.diagnostics import made_checkpoint, make_extended, write_codebooks, write_stage


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    root = tmp_path_factory.mktemp("ws")
    space = Workspace(root)
    write_stage(space, "extended", "collapsed")
    log = {"step": [0, 10, 20, 40], "loss": [None, 3.0, 2.0, 1.0], "effective_rank": [1.0, None, 4.0, 8.0]}
    write_stage(space, "grounded", "grounded", "extended", log, 40)
    write_stage(space, "between", "scattered", "grounded")
    write_stage(space, "gti", "grounded", "between")
    write_stage(space, "mean", "scattered", "extended")
    write_codebooks(root.parent / "codebooks.safetensors")
    return space


def follow(space, *names, **options):
    options = {"name": "t", "force": True, **options}
    manifest = diagnose(names, space.root, trajectory=True, **options)
    table = pq.read_table(space.root / "diagnostics" / options["name"] / "trajectory.parquet").to_pylist()
    return manifest, table


def test_lines_follow_the_manifests_whatever_the_order_given(space):
    manifest, table = follow(space, "gti", "mean", "grounded", "extended")
    assert manifest.options["trajectory"] == [["extended", "mean"], ["extended", "grounded", "gti"]]
    points = [(row["line"], row["checkpoint"], row["position"]) for row in table if row["source"] == "checkpoint"]
    assert points == [
        ("mean", "extended", 0),
        ("mean", "mean", 1),
        ("gti", "extended", 0),
        ("gti", "grounded", 1),
        ("gti", "gti", 2),  # through 'between', which was not given
    ]
    metrics = manifest.metrics
    assert [metrics[name]["previous"] for name in ("extended", "grounded", "gti")] == [None, "extended", "grounded"]


def test_persistence_is_computed_from_the_rows(space):
    metrics = follow(space, "extended", "grounded", "between")[0].metrics
    first, second, third = (
        read_checkpoint(space.path(name)).matrices["input"].new for name in ("extended", "grounded", "between")
    )
    assert metrics["between"]["cka_to_previous"] == pytest.approx(cka(second, third))
    assert metrics["between"]["cosine_to_previous"] == pytest.approx(row_cosine(second, third))
    assert metrics["between"]["moved_from_previous"] == pytest.approx(moved(second, third))
    assert metrics["grounded"]["moved_from_previous"] == pytest.approx(moved(first, second))
    assert metrics["grounded"]["cka_to_previous"] is None  # a start of one point has no geometry to keep
    assert metrics["between"]["cka_to_start"] is None
    json.dumps(metrics, allow_nan=False)


def test_the_log_of_a_training_lies_between_its_checkpoints(space):
    table = follow(space, "extended", "grounded")[1]
    logged = [(row["step"], row["position"], row["loss"], row["effective_rank"]) for row in table]
    assert logged[1:3] == [(10, 0.25, 3.0, None), (20, 0.5, 2.0, 4.0)]
    assert [row["source"] for row in table] == ["checkpoint", "log", "log", "checkpoint"]
    assert table[-1]["step"] == 40
    assert table[-1]["cka_to_previous"] is None


def test_without_the_start_the_log_is_left_out(space):
    assert [row["source"] for row in follow(space, "grounded", "gti")[1]] == ["checkpoint"] * 2


@pytest.fixture(scope="module")
def trainer(tmp_path_factory, space):
    """A Trainer's output folder: checkpoints without a list of new tokens, and the end result."""
    folder = tmp_path_factory.mktemp("trainer") / "run"
    for step, kind in ((30, "scattered"), (4, "collapsed"), (100, "grounded")):
        make_extended(folder / f"checkpoint-{step}", kind, ours=False)
    (folder / "checkpoint-x").mkdir()
    return folder


def test_folders_of_checkpoints_are_taken_apart_in_the_order_of_their_steps(space, trainer):
    names = ["checkpoint-4", "checkpoint-30", "checkpoint-100"]
    manifest, table = follow(space, "extended", str(trainer))
    assert manifest.details["checkpoints"] == ["extended", *names]
    assert [(row["position"], row["step"]) for row in table] == [(0, None), (0.04, 4), (0.3, 30), (1.0, 100)]
    assert manifest.metrics["checkpoint-100"]["previous"] == "checkpoint-30"
    alone = follow(space, str(trainer), tokens_from="<[abc]_[0-9]+>")[1]
    assert [row["position"] for row in alone] == [0.04, 0.3, 1.0]


def test_a_trainers_folder_that_is_a_checkpoint_comes_last(space, trainer, tmp_path):
    folder = tmp_path / "whole"
    shutil.copytree(trainer, folder)
    shutil.copytree(trainer / "checkpoint-100", folder, dirs_exist_ok=True)
    manifest, table = follow(space, "extended", str(folder))
    assert manifest.details["checkpoints"][-1] == "whole"
    assert table[-1]["position"] == 1
    assert table[-1]["cka_to_previous"] == pytest.approx(1)


def test_checkpoints_of_other_tokens_are_refused(space, tmp_path):
    folder = make_extended(tmp_path / "other", "grounded")
    table = pq.read_table(folder / NEW_TOKENS_FILE)
    tables.write(folder / NEW_TOKENS_FILE, table.slice(0, 12))
    with pytest.raises(InputError, match="new tokens differ from those of extended"):
        follow(space, "extended", str(folder))


def test_untied_matrices_are_followed_apart(tmp_path):
    space = Workspace(tmp_path)
    write_stage(space, "extended", "collapsed", tied=False, output="scattered")
    log = {"step": [5], "loss": [1.0], "effective_rank": [2.0], "output_effective_rank": [3.0]}
    write_stage(space, "grounded", "grounded", "extended", log, 10, tied=False, output="scattered")
    manifest, table = follow(space, "extended", "grounded")
    assert manifest.metrics["grounded"]["cka_to_previous"] is None
    assert manifest.metrics["grounded"]["output"]["cka_to_previous"] == pytest.approx(1)
    logged = {row["matrix"]: row["effective_rank"] for row in table if row["source"] == "log"}
    assert logged == {"input": 2.0, "output": 3.0}


def test_pictures_and_page(space):
    follow(space, "extended", "grounded", "gti", "mean", plot=True)
    folder = space.root / "diagnostics" / "t"
    assert (folder / "trajectory.png").is_file()
    assert (folder / "trajectory.svg").is_file()
    page = (folder / "report.html").read_text("utf-8")
    assert "Along the training" in page
    assert "What training kept" in page


def test_lines_run_from_each_root_to_each_leaf():
    root = TimelineCheckpoint(made_checkpoint("root"), None, None, 0.0)
    middle = TimelineCheckpoint(made_checkpoint("middle"), None, root, 1.0)
    leaves = [
        TimelineCheckpoint(made_checkpoint(name), None, start, 2.0) for name, start in (("a", middle), ("b", root))
    ]
    alone = TimelineCheckpoint(made_checkpoint("alone"), None, None, 0.0)
    found = [[entry.checkpoint.label for entry in line] for line in lines([root, alone, middle, *leaves])]
    assert found == [["alone"], ["root", "middle", "a"], ["root", "b"]]


def test_persistence_of_too_few_rows_for_cka_and_of_a_matrix_that_is_new():
    rng = np.random.default_rng(0)
    before, after = rng.standard_normal((2, 3, 4)).astype(np.float32)
    start = made_checkpoint("start", {"input": before})
    end = made_checkpoint("end", {"input": after, "output": after})
    root = TimelineCheckpoint(start, None, None, 0.0)
    timeline = [root, TimelineCheckpoint(end, None, root, 1.0)]
    diagnoses = [
        SimpleNamespace(checkpoint=entry.checkpoint, matrix=matrix, series=SimpleNamespace(figures={}))
        for entry in timeline
        for matrix in entry.checkpoint.rows.matrices
    ]
    add_persistence(timeline, diagnoses)
    of_start, of_input, of_output = (diagnosis.series.figures for diagnosis in diagnoses)
    assert set(of_start.values()) == set(of_output.values()) == {None}
    assert of_input["previous"] == "start"
    assert of_input["cka_to_previous"] is None
    assert of_input["moved_from_previous"] == pytest.approx(
        np.sqrt(np.sum((after - before) ** 2) / np.sum(before**2)), rel=1e-5
    )
