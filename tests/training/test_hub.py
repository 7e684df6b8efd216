"""Mistyped names: one line that says what there is, before anything is loaded; models of the hub's cache pass."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from gti_cli.app import run
from gti_cli.errors import InputError
from gti_cli.training.hub import require_on_hub, waiting_for_hub
from gti_cli.workspace import Workspace


def asked(monkeypatch: pytest.MonkeyPatch, answer: Exception | None) -> list[tuple[str, str]]:
    """A hub that answers with ``answer``, after a line of its library for a try that failed; the files asked for."""
    files = []

    def cached_file(name: str, file: str, **_: Any) -> str:
        files.append((name, file))
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        if answer is not None:
            raise answer
        return "somewhere"

    monkeypatch.setattr("transformers.utils.hub.cached_file", cached_file)
    return files


def test_a_model_of_the_hub_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = asked(monkeypatch, None)
    require_on_hub("some/lm", Workspace(tmp_path))
    assert files == [("some/lm", "config.json")]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (OSError("some/lm is not a local folder\nand more"), "some/lm is not a local folder"),
        (ValueError("Repo id must use alphanumeric chars"), "Repo id must use alphanumeric chars"),
        (OSError(), "OSError"),
    ],
)
def test_the_line_says_what_the_workspace_has(
    answer: Exception, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    space = Workspace(tmp_path / "w")
    for name in ("extended", "mean"):
        with space.stage("extend", name, [name], options={}, checkpoint=True) as stage:
            stage.path(name).mkdir()
            (stage.path(name) / "config.json").write_text("{}")
    asked(monkeypatch, answer)
    with pytest.raises(InputError) as caught:
        require_on_hub("some/lm", space)
    line = str(caught.value)
    assert words in line and "and more" not in line and "\n" not in line
    assert "holds extended, mean" in line
    assert not caplog.records  # neither its library's tries


def test_a_hub_that_does_not_answer_is_one_note(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("huggingface_hub")
    before = logger.handlers[:], logger.propagate
    with pytest.raises(KeyError), waiting_for_hub("some/lm"):
        for _ in range(3):
            logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise KeyError
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "some/lm: no such folder here, and the hub does not answer; waiting"
    assert (logger.handlers, logger.propagate) == before


def test_nothing_else_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A hub that cannot be reached is waited for once, not for every file of a tokenizer and a model."""
    files = asked(monkeypatch, OSError("We couldn't connect"))
    table = tmp_path / "words.csv"
    table.write_text("token\nhello-world\n")
    assert run(["extend", "--model", "absent", "--tokens", str(table), "-w", str(tmp_path / "w"), "-q"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: absent: no such checkpoint, folder or hub model: We couldn't connect")
    assert line.endswith("holds no checkpoint.") and len(files) == 1
    assert not (tmp_path / "w").exists()
