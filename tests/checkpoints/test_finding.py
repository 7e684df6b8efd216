"""Finding checkpoints in a workspace, in folders and on the hub."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gti_cli.checkpoints.adapters.folder import names_adapter
from gti_cli.checkpoints.finding import check_same_ids, find_checkpoint
from gti_cli.checkpoints.loading import load_model, load_tokenizer
from gti_cli.checkpoints.new_tokens import NewTokens, code_ids
from gti_cli.checkpoints.saving import save_checkpoint
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
from tests.support.adapters import IDS, write_adapter
from tests.support.models import make_model, make_tokenizer

CPU = torch.device("cpu")


def new_tokens(tokenizer: object) -> NewTokens:
    names = ["<a_0>", "<a_1>"]
    tokenizer.add_tokens(names)  # type: ignore[attr-defined]
    ids = np.asarray(tokenizer.convert_tokens_to_ids(names))  # type: ignore[attr-defined]
    return NewTokens(names, ids, np.zeros(2, np.int32), np.arange(2, dtype=np.int32))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with a checkpoint ``extended``."""
    space = Workspace(tmp_path / "w")
    with space.stage("extend", "extended", ["extended"], options={}, checkpoint=True) as run:
        tokenizer = make_tokenizer()
        tokens = new_tokens(tokenizer)
        save_checkpoint(run.path("extended"), make_model(vocab_size=len(tokenizer)), tokenizer, tokens)
        run.details["semantic_ids"] = "one"
    return space


def test_default_name_and_path_are_the_same_checkpoint(workspace: Workspace) -> None:
    default = find_checkpoint(workspace, None, "extended", "gti extend")
    named = find_checkpoint(workspace, "extended", "other", "gti extend")
    by_path = find_checkpoint(workspace, str(workspace.path("extended")), "other", "gti extend")
    assert default == named == by_path
    assert list(default.upstream()) == ["extended"]
    assert default.inputs() == {}
    assert default.new_tokens().names == ["<a_0>", "<a_1>"]


def test_where_the_default_is_missing_the_checkpoints_that_are_there_are_named(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="finetuned does not exist") as caught:
        find_checkpoint(workspace, None, "finetuned", "gti finetune")
    assert "Run 'gti finetune' first, or name a checkpoint" in str(caught.value)
    assert "holds extended" in str(caught.value)
    with pytest.raises(InputError, match="extended does not exist") as caught:
        find_checkpoint(Workspace(workspace.root.parent / "empty"), None, "extended", "gti extend")
    assert "holds" not in str(caught.value)


def test_folder_elsewhere_is_an_input(workspace: Workspace, make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint()
    found = find_checkpoint(workspace, str(folder), "extended", "gti extend")
    assert found.manifest is None
    assert found.inputs() == {"checkpoint": str(folder)}
    with pytest.raises(InputError, match="no new tokens"):
        found.new_tokens()
    elsewhere = find_checkpoint(Workspace(workspace.root.parent / "v"), str(workspace.path("extended")), "x", "y")
    assert elsewhere.manifest is not None
    assert elsewhere.artifact is None


def test_hub_name_is_asked_for_on_the_hub(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no such checkpoint, folder or hub model.*holds extended"):
        find_checkpoint(workspace, "some-org/some-model", "extended", "gti extend")
    asked = []

    def on_the_hub(name: str, _: Workspace) -> Path:
        asked.append(name)
        return Path("absent")

    monkeypatch.setattr("gti_cli.checkpoints.finding.require_on_hub", on_the_hub)
    found = find_checkpoint(workspace, "some-org/some-model", "extended", "gti extend")
    assert not found.local and asked == ["some-org/some-model"]
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(found.path, CPU, torch.float32)


def test_what_the_manifest_of_a_pinned_checkpoint_says_is_known(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with workspace.stage("finetune", "tuned", ["tuned"], options={"history": 7}, checkpoint=True) as run:
        shutil.copytree(workspace.path("extended"), run.path("tuned"), ignore=shutil.ignore_patterns("gti.json"))
        run.details["semantic_ids"] = "one"
    cache = shutil.copytree(workspace.path("tuned"), tmp_path / "snapshot")
    monkeypatch.setattr("gti_cli.checkpoints.finding.download_revision", lambda *_, **__: cache)
    found = find_checkpoint(workspace, "some-org/tuned@v1", "extended", "gti extend")
    assert (found.path, found.local, found.pinned) == (str(cache), True, "some-org/tuned@v1")
    assert found.artifact is None and found.inputs() == {"checkpoint": str(cache)}
    assert found.history_length(None, "--history", 20) == 7
    assert found.history_length(9, "--history", 20) == 9 and "fine-tuned with 7" in capsys.readouterr().err
    with workspace.stage("build-ids", "ids", ["ids.txt"], options={}) as run:
        run.path("ids.txt").write_text("two")
        run.details["identity"] = "two"
    with pytest.raises(InputError, match="other semantic IDs"):
        check_same_ids(found, run.result())


@pytest.mark.parametrize("given", ["./absent", "/absent/folder", "a/b/c"])
def test_a_missing_folder_is_refused(workspace: Workspace, given: str) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_checkpoint(workspace, given, "extended", "gti extend")


def test_folders_and_files_that_are_no_checkpoint_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"no config\.json"):
        find_checkpoint(workspace, str(tmp_path / "folder"), "extended", "gti extend")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file"):
        find_checkpoint(workspace, str(tmp_path / "file"), "extended", "gti extend")
    with pytest.raises(InputError, match="Run 'gti ground' first"):
        find_checkpoint(workspace, None, "grounded", "gti ground")


def test_other_semantic_ids_are_refused(workspace: Workspace) -> None:
    def ids_manifest(text: str) -> object:
        with workspace.stage("b", "ids", ["ids.txt"], options={"text": text}, force=True) as run:
            run.path("ids.txt").write_text(text)
            run.details["identity"] = text
        return run.result()

    checkpoint = find_checkpoint(workspace, None, "extended", "gti extend")
    check_same_ids(checkpoint, ids_manifest("one"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="other semantic IDs"):
        check_same_ids(checkpoint, ids_manifest("two"))  # type: ignore[arg-type]


def test_codes_are_found_behind_words_that_were_added_later(workspace: Workspace) -> None:
    first = find_checkpoint(workspace, None, "extended", "gti extend")
    assert first.item_tokens().names == first.new_tokens().names
    tokenizer = load_tokenizer(first.path)
    tokenizer.add_tokens(["<palluse>"])
    word = np.asarray(tokenizer.convert_tokens_to_ids(["<palluse>"]))
    later = NewTokens(["<palluse>"], word, np.full(1, -1, np.int32), np.full(1, -1, np.int32))
    folder = workspace.root / "words"
    save_checkpoint(folder, make_model(vocab_size=len(tokenizer)), tokenizer, later)
    found = find_checkpoint(workspace, str(folder), "extended", "gti extend")
    assert found.new_tokens().names == ["<palluse>"]
    both = found.item_tokens()
    assert both.names == ["<a_0>", "<a_1>", "<palluse>"] and both.levels.tolist() == [0, 0, -1]
    assert both.ids.tolist() == tokenizer.convert_tokens_to_ids(both.names)
    assert [part.tolist() for part in code_ids(both, [2])] == [both.ids[:2].tolist()]


def test_an_adapter_is_found_with_its_base(workspace: Workspace, tmp_path: Path) -> None:
    base, folder = workspace.path("extended"), tmp_path / "adapter"
    expected = write_adapter(base, folder)
    assert names_adapter(workspace, str(folder)) and not names_adapter(workspace, "extended")
    found = find_checkpoint(workspace, str(folder), "x", "y", adapters=True)
    assert found.base == find_checkpoint(workspace, "extended", "x", "y")
    assert found.manifest is None and found.known_manifest is not None
    assert found.inputs() == {"checkpoint": str(folder)} and list(found.upstream()) == ["extended"]
    assert found.details() == {"adapter": {"kind": "LORA", "base": "extended"}}
    # What the adapter's folder lacks comes from the base.
    assert found.new_tokens().names == ["<a_0>", "<a_1>"]
    assert found.load_tokenizer().get_vocab()["<a_1>"] == found.new_tokens().ids[1]
    assert found.load_config().vocab_size == found.embeddings().input.shape[0]
    with torch.no_grad():
        logits = found.load_model(CPU, torch.float32)(input_ids=IDS).logits
    assert float((logits - expected).abs().max()) < 1e-4
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<of-the-adapter>"])
    tokenizer.save_pretrained(folder)
    assert "<of-the-adapter>" in found.load_tokenizer().get_vocab()


def test_a_base_that_is_not_there_is_named_with_a_remedy(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    write_adapter(workspace.path("extended"), folder)
    config = folder / "adapter_config.json"
    text = config.read_text("utf-8")
    config.write_text(text.replace(str(workspace.path("extended")), "/other/machine/extended"), "utf-8")
    with pytest.raises(InputError, match="its base model cannot be used: /other/machine/extended: no such") as caught:
        find_checkpoint(workspace, str(folder), "x", "y", adapters=True)
    assert "Pass --base" in str(caught.value) and "holds extended" in str(caught.value)
    found = find_checkpoint(workspace, str(folder), "x", "y", adapters=True, base="extended")
    assert found.base is not None and found.base.artifact == "extended"
    config.write_text(text.replace(f'"{workspace.path("extended")}"', "null"), "utf-8")
    with pytest.raises(InputError, match="does not name its base model"):
        find_checkpoint(workspace, str(folder), "x", "y", adapters=True)


def test_adapters_and_bases_are_refused_where_they_do_not_belong(workspace: Workspace, tmp_path: Path) -> None:
    write_adapter(workspace.path("extended"), tmp_path / "adapter")
    with pytest.raises(InputError, match="this command reads whole checkpoints") as caught:
        find_checkpoint(workspace, str(tmp_path / "adapter"), "x", "y")
    assert "--merge-into NAME" in str(caught.value)
    with pytest.raises(InputError, match="--base is for adapters"):
        find_checkpoint(workspace, "extended", "x", "y", adapters=True, base="extended")
    with pytest.raises(InputError, match="this command reads whole checkpoints"):  # an adapter as the base of another
        find_checkpoint(workspace, str(tmp_path / "adapter"), "x", "y", adapters=True, base=str(tmp_path / "adapter"))
