"""What a checkpoint was fine-tuned on, as its manifests tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.cards.trained_tasks import say_if_untrained, trained_tasks
from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest


def stage(
    space: Workspace, command: str, name: str, start: Manifest | None, tasks: list[str] | None = None
) -> Manifest:
    upstream = {start.name: start} if start is not None else {}
    with space.stage(command, name, [name], options={}, upstream=upstream, checkpoint=True) as run:
        run.path(name).mkdir()
        (run.path(name) / "config.json").write_text("{}")
        if tasks is not None:
            run.metrics["tasks"] = {task: {"targets": 1} for task in tasks}
    return run.result()


@pytest.mark.parametrize(
    ("tasks", "expected", "said"),
    [
        ([], set(), {"queries": "not fine-tuned", "histories": "not fine-tuned"}),
        ([["next-item"]], {"next-item"}, {"queries": "fine-tuned on next-item alone"}),
        ([["search"]], {"search"}, {"histories": "fine-tuned on search alone"}),
        ([["search"], ["lc-rec"]], {"search", "lc-rec"}, {}),
        ([None], None, {}),
    ],
)
def test_tasks_of_all_stages_count(
    tmp_path: Path,
    tasks: list[list[str] | None],
    expected: set[str] | None,
    said: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    space = Workspace(tmp_path)
    last = stage(space, "extend", "extended", None)
    for number, names in enumerate(tasks):
        last = stage(space, "finetune", f"tuned{number}", last, names)
    checkpoint = Checkpoint(str(space.path(last.name)), True, last, last.name)
    assert trained_tasks(space, checkpoint) == expected
    for asked in ("queries", "histories"):
        capsys.readouterr()
        details = say_if_untrained(space, checkpoint, asked)
        assert details == ({"never_trained_on": asked} if asked in said else {})
        words = capsys.readouterr().err
        assert (f"never saw {asked} in training" in words) == (asked in said) and said.get(asked, "") in words


def test_nothing_is_said_of_checkpoints_whose_beginning_is_unknown(tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    tuned = stage(space, "finetune", "tuned", None, ["next-item"])
    assert trained_tasks(space, Checkpoint(str(space.path("tuned")), True, tuned, "tuned")) is None
    assert trained_tasks(space, Checkpoint(str(tmp_path), True, None, None)) is None
