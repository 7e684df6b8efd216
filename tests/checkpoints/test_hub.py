"""Names on the hub: a mistyped one is refused in one line before anything is loaded, and retries are one note."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from huggingface_hub.utils import filter_repo_objects

from gti_cli.app import run
from gti_cli.checkpoints.finding import find_checkpoint
from gti_cli.checkpoints.hub import download_revision, require_on_hub, waiting_for_hub
from gti_cli.checkpoints.new_tokens import NEW_TOKENS_FILE
from gti_cli.checkpoints.saving import PRIOR_FILE
from gti_cli.commands.options import with_revision
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace


def fake_hub(monkeypatch: pytest.MonkeyPatch, answer: Exception | None) -> list[tuple[str, str]]:
    """Replace the hub by one that logs a retry and then raises ``answer`` (None: succeeds); returns the requests."""
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
    files = fake_hub(monkeypatch, None)
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
def test_the_error_line_lists_the_checkpoints_of_the_workspace(
    answer: Exception, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: Shown
) -> None:
    space = Workspace(tmp_path / "w")
    for name in ("extended", "mean"):
        with space.stage("extend", name, [name], options={}, checkpoint=True) as stage:
            stage.path(name).mkdir()
            (stage.path(name) / "config.json").write_text("{}")
    fake_hub(monkeypatch, answer)
    with pytest.raises(InputError) as caught:
        require_on_hub("some/lm", space)
    line = str(caught.value)
    assert words in line and "and more" not in line and "\n" not in line
    assert "holds extended, mean" in line
    assert not library.lines


def put_model_into_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: Path) -> str:
    """A hub's cache with two revisions of `some/lm`; returns the older commit."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    root = tmp_path / "hub" / "models--some--lm"
    for commit, name in (("a" * 40, "v1"), ("b" * 40, "main")):
        shutil.copytree(base, root / "snapshots" / commit)
        (root / "snapshots" / commit / "README.md").write_text(f"---\nlicense: mit\n---\n{name}")
        (root / "refs").mkdir(exist_ok=True)
        (root / "refs" / name).write_text(commit)
    return "a" * 40


@pytest.mark.parametrize("by", ["option", "name", "commit"])
def test_a_revision_is_pinned(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_checkpoint: Any, capsys: Any
) -> None:
    older = put_model_into_cache(tmp_path, monkeypatch, make_checkpoint())
    (tmp_path / "words.csv").write_text("token\n<new>\n")
    named = {"option": ["some/lm", "--revision", "v1"], "name": ["some/lm@v1"], "commit": [f"some/lm@{older}"]}[by]
    line = ["extend", "--tokens", str(tmp_path / "words.csv"), "-w", str(tmp_path / "w"), "--no-effect", "--model"]
    assert run([*line, *named, "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert Path(manifest["inputs"]["model"]["path"]).name == older
    assert manifest["details"]["model"].startswith("some/lm@")
    card = (tmp_path / "w" / "extended" / "README.md").read_text()
    assert "base_model: some/lm\n" in card and "license: mit" in card


@pytest.mark.parametrize("weights", [True, False])
def test_a_revision_comes_with_its_prior_and_without_copies_of_the_weights(
    weights: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["config.json", "gti.json", "gti_prompt.json", NEW_TOKENS_FILE, PRIOR_FILE]
    templates = ["chat_template.jinja", "additional_chat_templates/tool_use.jinja"]
    others = ["onnx/model.safetensors", "original/params.json", "pytorch_model.bin"]
    brought: set[str] = set()

    def snapshot_download(name: str, revision: str, **patterns: Any) -> str:
        assert (name, revision) == ("some/lm", "a" * 40 if brought else "v1")
        brought.update(filter_repo_objects([*own, *templates, *others, "model.safetensors"], **patterns))
        return str(tmp_path / ("a" * 40))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    folder = download_revision("some/lm@v1", Workspace(tmp_path), weights=weights)
    assert folder == tmp_path / ("a" * 40)
    assert brought == {*own, *templates, *(["model.safetensors"] if weights else [])}


def test_revisions_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_checkpoint: Any) -> None:
    put_model_into_cache(tmp_path, monkeypatch, base := make_checkpoint())
    space = Workspace(tmp_path / "w")
    with pytest.raises(InputError, match=r"^some/lm@v9: no such model or revision: .* Check name and revision"):
        find_checkpoint(space, "some/lm@v9", "x", "gti extend")
    with pytest.raises(InputError, match="no such model or revision"):
        find_checkpoint(space, "some/lm@refs/pr/7", "x", "gti extend")
    with pytest.raises(InputError, match="--revision is for a model on the hub, and this one is here"):
        with_revision(str(base), "v1", space.root)
    with pytest.raises(InputError, match="has a revision already"):
        with_revision("some/lm@v1", "v2", space.root)


class Shown(logging.Handler):
    """Collects the lines that the library's own handler would print."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def library() -> Iterator[Shown]:
    logger, shown = logging.getLogger("huggingface_hub"), Shown()
    logger.addHandler(shown)
    yield shown
    logger.removeHandler(shown)


def test_retries_are_one_note_and_other_warnings_pass(library: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("huggingface_hub.utils._http")
    with pytest.raises(KeyError), waiting_for_hub("some/lm"):
        log.warning("You are sending unauthenticated requests.")
        assert not capsys.readouterr().err.count("does not answer")
        for number in range(3):
            log.warning("'no name' thrown while requesting HEAD https://somewhere")
            log.warning(f"Retrying in 1s [Retry {number}/5].")
        raise KeyError
    assert capsys.readouterr().err.count("some/lm: no such folder here, and the hub does not answer; waiting\n") == 1
    assert library.lines == ["You are sending unauthenticated requests."]
    log.warning("Retrying in 1s [Retry 1/5].")
    assert library.lines[1:] == ["Retrying in 1s [Retry 1/5]."]


def test_one_request_is_enough_to_refuse_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A hub that cannot be reached is waited for once, not for every file of a tokenizer and a model."""
    files = fake_hub(monkeypatch, OSError("We couldn't connect"))
    table = tmp_path / "words.csv"
    table.write_text("token\nhello-world\n")
    assert run(["extend", "--model", "absent", "--tokens", str(table), "-w", str(tmp_path / "w"), "-q"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: absent: no such checkpoint, folder or hub model: We couldn't connect")
    assert line.endswith("holds no checkpoint.") and len(files) == 1
    assert not (tmp_path / "w").exists()
