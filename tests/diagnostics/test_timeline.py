import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.diagnostics.timeline import CheckpointPath, build_timeline, expand_folders
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
from tests.support.diagnostics import made_checkpoint, made_manifest, write_stage


def timeline_of(space, paths, manifests):
    checkpoints = [
        made_checkpoint(path.path, manifest=manifest) for path, manifest in zip(paths, manifests, strict=True)
    ]
    return build_timeline(space, paths, checkpoints)


def summary(timeline):
    """Label -> (label of the predecessor, position)."""
    return {
        entry.checkpoint.label: (entry.previous and entry.previous.checkpoint.label, entry.position)
        for entry in timeline
    }


def test_folders_are_replaced_by_their_checkpoints_in_the_order_of_steps(tmp_path):
    space = Workspace(tmp_path / "ws")
    inside, outside = space.path("finetuned"), tmp_path / "run"
    for folder, names in ((inside, ("checkpoint-20", "checkpoint-3")), (outside, ("checkpoint-5", "checkpoint-x"))):
        for name in names:
            (folder / name).mkdir(parents=True)
    (outside / "config.json").write_text("{}")
    assert expand_folders(space, ["extended", "finetuned", str(outside)]) == [
        CheckpointPath("extended"),
        CheckpointPath(str(inside / "checkpoint-3"), 3, 1),
        CheckpointPath(str(inside / "checkpoint-20"), 20, 1),
        CheckpointPath(str(outside / "checkpoint-5"), 5, 2),
        CheckpointPath(str(outside), None, 2),  # it is a checkpoint, too
    ]


@given(st.lists(st.integers(0, 10), max_size=8), st.randoms())
def test_predecessors_are_those_of_the_manifests_whatever_the_order(parents, random):
    """A random tree: checkpoint i + 1 was trained from an earlier one, and its position is its depth."""
    parents = [parent % (i + 1) for i, parent in enumerate(parents)]
    depths = [0]
    for parent in parents:
        depths.append(depths[parent] + 1)
    manifests = [made_manifest("c0"), *(made_manifest(f"c{i + 1}", f"c{p}") for i, p in enumerate(parents))]
    order = list(range(len(manifests)))
    random.shuffle(order)
    timeline = timeline_of(Workspace("absent"), [CheckpointPath(f"c{i}") for i in order], [manifests[i] for i in order])
    expected = {"c0": (None, 0.0)} | {f"c{i + 1}": (f"c{p}", depths[i + 1]) for i, p in enumerate(parents)}
    assert summary(timeline) == expected
    for entry in timeline:
        assert entry.start.checkpoint.label == "c0"
        assert [step.position for step in entry.line] == list(range(int(entry.position) + 1))


def test_ancestors_that_were_not_given_are_skipped(tmp_path):
    space = Workspace(tmp_path)
    write_stage(space, "extended", "collapsed")
    write_stage(space, "grounded", "scattered", "extended")
    write_stage(space, "gti", "grounded", "grounded")
    manifests = [space.manifest("extended"), space.manifest("gti")]
    timeline = timeline_of(space, [CheckpointPath("extended"), CheckpointPath("gti")], manifests)
    assert summary(timeline) == {"extended": (None, 0), "gti": ("extended", 1)}


def test_without_manifests_the_order_given_counts():
    timeline = timeline_of(Workspace("absent"), [CheckpointPath("b"), CheckpointPath("a")], [None, None])
    assert summary(timeline) == {"b": (None, 0), "a": ("b", 1)}


def test_checkpoints_of_a_folder_lie_within_their_stage():
    steps = [CheckpointPath(f"run/checkpoint-{step}", step, 1) for step in (10, 40)]
    paths = [CheckpointPath("start"), *steps, CheckpointPath("run", None, 1), CheckpointPath("next")]
    expected = {
        "start": (None, 0),
        "run/checkpoint-10": ("start", 0.25),
        "run/checkpoint-40": ("run/checkpoint-10", 1),
        "run": ("run/checkpoint-40", 1),
        "next": ("run", 2),
    }
    assert summary(timeline_of(Workspace("absent"), paths, [None] * 5)) == expected
    alone = timeline_of(Workspace("absent"), steps, [None] * 2)  # their start, at 0, was not given
    assert [entry.position for entry in alone] == [0.25, 1]


def test_checkpoints_of_other_tokens_are_refused():
    rows = {"input": np.eye(3)}
    checkpoints = [made_checkpoint("a", rows), made_checkpoint("b", rows, names=["x", "y", "z"])]
    with pytest.raises(InputError, match="new tokens differ from those of a"):
        build_timeline(Workspace("absent"), [CheckpointPath("a"), CheckpointPath("b")], checkpoints)
