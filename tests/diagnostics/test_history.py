import json

import pytest

from gti_cli.diagnostics.history import FINETUNE, GROUND, FoundAccuracy, History, read_accuracy, read_history
from gti_cli.workspace import Workspace
from tests.support.diagnostics import made_checkpoint


def write(space, name, command, *sources, metrics=None, options=None, initializer=None):
    """Write an artifact of a few bytes that says it was made by ``command`` from ``sources``."""
    is_checkpoint = "/" not in name
    with space.stage(
        command,
        name,
        [name],
        options=options or {"name": name},
        upstream={source: space.manifest(source) for source in sources},
        checkpoint=is_checkpoint,
    ) as run:
        run.path(name).mkdir(parents=True)
        (run.path(name) / "content").write_text(name, "utf-8")
        run.metrics.update(metrics or {})
        if initializer:
            run.details["initializer"] = initializer
    return run.result()


def history_of(space, folder, manifest=None):
    checkpoint = made_checkpoint(str(folder), manifest=manifest)  # its label is its folder
    return read_history(space, space.manifests(), checkpoint)


def evaluation(value, popularity=None, interval=None, k=10):
    baselines = {} if popularity is None else {"popularity": {f"recall@{k}": popularity}}
    intervals = {} if interval is None else {f"recall@{k}": interval}
    return {"metrics": {f"recall@{k}": value, "mrr": 0.5}, "baselines": baselines, "intervals": intervals}


@pytest.fixture
def space(tmp_path):
    space = Workspace(tmp_path / "ws")
    write(space, "extended", "extend", initializer="text-lstsq")
    write(space, "grounded", "ground", "extended", initializer="text-lstsq")
    write(space, "gti", "finetune", "grounded", initializer="text-lstsq")
    write(space, "text", "finetune", "extended", initializer="text-lstsq")
    return space


@pytest.mark.parametrize(
    ("name", "commands", "grounded", "tuned"),
    [
        ("extended", ("extend",), False, False),
        ("grounded", ("ground", "extend"), True, False),
        ("gti", ("finetune", "ground", "extend"), True, True),
        ("text", ("finetune", "extend"), False, True),
    ],
)
def test_manifests_tell_the_stages_of_a_checkpoint(space, name, commands, grounded, tuned):
    history = history_of(space, space.path(name), space.manifest(name))
    assert (history.name, history.commands, history.complete) == (name, commands, True)
    assert (history.has(GROUND), history.has(FINETUNE)) == (grounded, tuned)
    assert history.initializer == "text-lstsq"


def test_what_is_not_known_is_not_claimed(space, tmp_path):
    foreign = history_of(space, tmp_path / "foreign")
    assert (foreign.commands, foreign.has(GROUND), foreign.name) == ((), None, "CKPT")
    gti, extended = space.manifest("gti"), space.manifest("extended")
    for name in ("extended", "grounded"):
        (space.path(name) / "gti.json").unlink()
    cut = history_of(space, space.path("gti"), gti)
    assert (cut.commands, cut.has(FINETUNE), cut.has(GROUND)) == (("finetune",), True, None)
    assert history_of(space, space.path("extended"), extended).has(GROUND) is False  # its own manifest suffices


def test_checkpoints_beside_it_tell_where_another_workspace_made_it(space, tmp_path):
    here = Workspace(tmp_path / "here")
    history = history_of(here, space.path("gti"), space.manifest("gti"))
    assert history.commands == ("finetune", "ground", "extend")
    assert history.name == "CKPT"  # no name of this workspace
    grounded = space.path("grounded") / "gti.json"
    other = json.loads(grounded.read_text("utf-8")) | {"seed": 7}
    grounded.write_text(json.dumps(other), "utf-8")  # its digest no longer fits
    assert history_of(here, space.path("gti"), space.manifest("gti")).has(GROUND) is None


def test_the_evaluation_with_popularity_counts_and_the_newest_of_them(space):
    write(space, "evaluation/gti", "evaluate", "gti", metrics=evaluation(0.2, 0.1, [0.15, 0.25]))
    write(space, "evaluation/later", "evaluate", "gti", metrics=evaluation(0.3))
    write(space, "evaluation/text", "evaluate", "text", metrics=evaluation(0.4, 0.1))

    def of(name):
        return history_of(space, space.path(name), space.manifest(name)).accuracy

    assert of("gti") == FoundAccuracy("evaluation/gti", "recall@10", 0.2, (0.15, 0.25), 0.1)
    assert of("extended") is None
    write(space, "evaluation/valid", "evaluate", "gti", metrics=evaluation(0.6, 0.1), options={"split": "valid"})
    write(space, "evaluation/test", "evaluate", "gti", metrics=evaluation(0.5, 0.1), options={"split": "test"})
    assert of("gti").artifact == "evaluation/test"


@pytest.mark.parametrize(
    ("cutoffs", "metric"), [((5, 10, 20), "recall@10"), ((1, 5), "recall@5"), ((50, 100), "recall@50")]
)
def test_recall_at_10_or_the_nearest_cutoff(space, cutoffs, metric):
    metrics = {"metrics": {f"recall@{k}": 0.1 for k in cutoffs} | {"recall@9": None}}
    assert read_accuracy(write(space, "evaluation/x", "evaluate", "gti", metrics=metrics)).metric == metric


def test_an_evaluation_without_recall_tells_nothing(space):
    assert read_accuracy(write(space, "evaluation/compared", "evaluate", "gti", metrics={"differences": {}})) is None


def test_a_checkpoint_that_was_trained_again_is_not_the_one_that_was_evaluated(space):
    write(space, "evaluation/gti", "evaluate", "gti", metrics=evaluation(0.2, 0.1))
    manifest = space.manifest("gti")
    with space.stage("finetune", "gti", ["gti"], options={"epochs": 9}, force=True, checkpoint=True) as run:
        run.path("gti").mkdir()
    assert history_of(space, space.path("gti"), manifest).accuracy is not None
    assert history_of(space, space.path("gti"), space.manifest("gti")).accuracy is None


def test_a_folder_elsewhere_is_known_by_its_content(space, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "weights").write_text("one", "utf-8")
    name = "evaluation/elsewhere"
    with space.stage("evaluate", name, [name], options={}, inputs={"checkpoint": folder}) as run:
        run.path(name).mkdir(parents=True)
        run.metrics.update(evaluation(0.2, 0.1))
    assert history_of(space, folder).accuracy.value == 0.2
    (folder / "weights").write_text("two", "utf-8")
    assert history_of(space, folder).accuracy is None


def test_figures_are_json_with_and_without_an_evaluation():
    found = History("x", ("extend",), True, "mean", FoundAccuracy("evaluation/x", "recall@10", 0.2, (0.1, 0.3), 0.1))
    assert found.figures() == {
        "made_by": ["extend"],
        "initializer": "mean",
        "evaluation": "evaluation/x",
        "evaluation_metric": "recall@10",
        "evaluation_value": 0.2,
        "evaluation_popularity": 0.1,
    }
    assert set(map(str, History().figures().values())) == {"[]", "None"}
