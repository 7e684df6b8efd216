from __future__ import annotations

import errno
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gti_cli.app import run
from gti_cli.errors import InputError
from gti_cli.exporting.export_recommender import RecommenderExport, export_recommender
from gti_cli.recommender.exported_folder import FOLDER_MANIFEST
from gti_cli.recommender.files import read_workspace
from gti_cli.recommender.recommender import Recommender
from gti_cli.tensors.vector_file import write_vectors
from gti_cli.workspace import Workspace
from tests.support.blends import Blended
from tests.support.evaluation import add_prompt_file
from tests.support.priors import WITH_PRIOR, add_checkpoint_with_prior

PRIVATE = "secret-place"  # a folder in the path of everything that the workspaces were made from
HISTORIES = [["i1", "i5"], ["i3"], [f"i{n}" for n in range(9)]]


@dataclass(frozen=True)
class Exported:
    """An exported recommender whose workspace is gone, and what the workspace's recommender answered."""

    done: RecommenderExport
    folder: Path
    answers: Any


def answers(recommender: Recommender) -> Any:
    """Everything that a recommender says, with all bits of the scores."""
    lists = recommender.recommend(HISTORIES, k=6, filter_seen=True, exclude=["i2"])
    said: list[Any] = [[(i.rank, i.item_id, i.title, i.score) for i in found.items] for found in lists]
    said += [recommender.similar("i4", 5), recommender.tokens("i4"), recommender.similarity_source]
    if not recommender.is_blend:
        beams = recommender.recommend(HISTORIES, k=3, search="beam", beams=5)
        said += [[(item.item_id, item.score) for item in found.items] for found in beams]
        said += [recommender.recommend(queries=["red dress"], k=3)[0].items]
    return said


@pytest.fixture(scope="module")
def exported(blended: Blended, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    root = tmp_path_factory.mktemp(PRIVATE)
    workspace = root / "ws"
    shutil.copytree(blended.world.workspace, workspace)
    add_checkpoint_with_prior(replace(blended.world, workspace=workspace))
    made = {}
    for name in ("finetuned", WITH_PRIOR, blended.manifest.name):
        said = answers(Recommender.load(workspace, name, device="cpu", dtype="float32"))
        made[name] = (export_recommender(root / name, workspace, name), said)
    shutil.rmtree(workspace)
    moved = tmp_path_factory.mktemp("moved")
    for name in made:
        (root / name).rename(moved / f"{name} here")
    return {name: Exported(done, moved / f"{name} here", said) for name, (done, said) in made.items()}


@pytest.mark.parametrize("name", ["finetuned", WITH_PRIOR, "blend"])
def test_a_moved_folder_gives_the_same_bits_without_the_workspace(exported: dict[str, Exported], name: str) -> None:
    found = exported[name]
    recommender = Recommender.load(found.folder, device="cpu", dtype="float32")
    assert recommender.name == name and recommender.is_blend == (name == "blend")
    assert answers(recommender) == found.answers
    numbers = found.done.numbers()
    assert (numbers["items"], numbers["levels"], numbers["embeddings"]) == (26, 3, True)
    assert numbers["behaviour_prior"] == (name == WITH_PRIOR)
    assert sum(part["bytes"] for part in numbers["parts"]) == sum(
        path.stat().st_size
        for path in found.folder.rglob("*")
        if path.is_file() and path.name not in (FOLDER_MANIFEST, "README.md")
    )


def test_no_folder_tells_where_it_was_made(exported: dict[str, Exported], blended: Blended) -> None:
    for found in exported.values():
        for path in found.folder.rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            assert PRIVATE.encode() not in content and str(blended.world.workspace.parent).encode() not in content, path
            assert path.is_dir() or path.suffix in (".safetensors", ".parquet", ".json", ".jinja", ".md"), path
    stages = json.loads((exported["blend"].folder / FOLDER_MANIFEST).read_text("utf-8"))["made_by"]
    assert [stage["command"] for stage in stages] == ["build-ids", "finetune", "blend"]
    assert stages[-1]["inputs"]["interactions"]["path"] == "interactions.parquet"


def test_the_command_line_asks_the_folder(
    exported: dict[str, Exported], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("finetuned", "blend"):
        folder = str(exported[name].folder)
        arguments = ["--history", ",".join(HISTORIES[0]), "--filter-seen", "-k", "6", "--json", "--device", "cpu"]
        (tmp_path / "not.csv").write_text("item_id\ni2\n")
        arguments += ["--exclude", str(tmp_path / "not.csv"), "--dtype", "float32"]
        assert run(["recommend", "-w", folder, *arguments]) == 0
        told = json.loads(capsys.readouterr().out)
        items = [entry["item_id"] for entry in told["recommendations"]]
        assert items == [item for _, item, *_ in exported[name].answers[0]]
        assert run(["recommend", "-w", folder, "--similar-to", "i4", "-k", "5", "--json"]) == 0
        similar = [entry["item_id"] for entry in json.loads(capsys.readouterr().out)["similar"]]
        assert similar == [item.item_id for item in exported[name].answers[len(HISTORIES)]]
    assert run(["export", "recommender", "-w", folder, "-o", str(tmp_path / "again")]) == 2
    assert "this is an exported recommender already" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "again").exists()


def test_what_is_left_out_and_what_is_mended(blended: Blended, tmp_path: Path, capsys: Any) -> None:
    source = tmp_path / "lm"
    shutil.copytree(blended.world.workspace / "finetuned", source)
    add_prompt_file(source)
    (source / "gti.json").unlink()  # as another trainer leaves it
    (source / "training_args.bin").write_bytes(b"a pickle")
    config = json.loads((source / "config.json").read_text())
    nested = {"_name_or_path": str(source)}
    (source / "config.json").write_text(json.dumps({**config, "_name_or_path": str(source), "text_config": nested}))
    (source / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": str(source / "checkpoint-5")}))
    (source / "README.md").write_text(f"trained in {source}")  # another trainer's
    for name in ("checkpoint-5", ".cache"):
        (source / name).mkdir()
        shutil.copy(source / "model.safetensors", source / name)
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "tool.jinja").write_text("x")
    done = export_recommender(tmp_path / "out", blended.world.workspace, str(source))
    assert done.left_out == ["README.md", "checkpoint-5/", "training_args.bin"] and done.manifest.name == "lm"
    assert "training_args.bin" in capsys.readouterr().err
    folder = tmp_path / "out" / "checkpoint"
    mended = {**config, "_name_or_path": "lm", "text_config": {"_name_or_path": "lm"}}
    assert json.loads((folder / "config.json").read_text()) == mended
    assert json.loads((folder / "trainer_state.json").read_text()) == {"best_model_checkpoint": "checkpoint-5"}
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"additional_chat_templates"}
    assert (folder / "gti_prompt.json").read_bytes() == (source / "gti_prompt.json").read_bytes()
    present = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert "training_args.bin" not in {path.name for path in present}
    assert not [path for path in present if str(tmp_path).encode() in path.read_bytes()]
    (source / "model.safetensors").rename(source / "weights.bin")
    with pytest.raises(InputError):
        export_recommender(tmp_path / "other", blended.world.workspace, str(source))
    assert {path.name for path in tmp_path.iterdir()} == {"lm", "out"}


def test_embeddings_of_other_items_are_left_out(
    blended: Blended, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(blended.world.workspace, tmp_path / "ws")
    write_vectors(tmp_path / "ws" / "embeddings.safetensors", (2, 3), [np.ones((2, 3), dtype=np.float32)])
    done = export_recommender(tmp_path / "out", tmp_path / "ws")
    assert done.manifest.embeddings is None and not (tmp_path / "out" / "embeddings.safetensors").exists()
    assert "embeddings are of 2 items, and the catalogue has 26" in " ".join(capsys.readouterr().err.split())


def test_a_folder_of_somebody_else_stays(blended: Blended, tmp_path: Path) -> None:
    workspace, mine = blended.world.workspace, tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(InputError, match="holds other files"):
            export_recommender(mine, workspace, force=force)
    with pytest.raises(InputError, match="this is a file"):
        export_recommender(mine / "thesis.txt", workspace)
    with pytest.raises(InputError, match="no such folder"):
        export_recommender(tmp_path / "no" / "x", workspace)
    with pytest.raises(InputError, match="nobody"):
        export_recommender(tmp_path / "x", workspace, "nobody")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "out").mkdir()  # an empty folder is taken
    export_recommender(tmp_path / "out", workspace)
    with pytest.raises(InputError, match="--force"):
        export_recommender(tmp_path / "out", workspace)
    export_recommender(tmp_path / "out", workspace, force=True)
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "out"}
    assert (mine / "thesis.txt").read_text() == "mine"


def test_a_full_disk_leaves_the_old_folder(blended: Blended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, out = blended.world.workspace, tmp_path / "out"
    export_recommender(out, workspace)
    before = (out / FOLDER_MANIFEST).read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(OSError, match="No space left"):
        export_recommender(out, workspace, force=True)
    assert (out / FOLDER_MANIFEST).read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"adapter": object()}, "an adapter.*--merge-into NAME"), ({"local": False}, "not on this machine.*Download it")],
)
def test_a_checkpoint_that_is_not_in_one_folder(
    blended: Blended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Any, problem: str
) -> None:
    files = read_workspace(Workspace(blended.world.workspace), None)
    assert files.checkpoint is not None
    files = replace(files, checkpoint=replace(files.checkpoint, **changes))
    monkeypatch.setattr("gti_cli.exporting.export_recommender.read_workspace", lambda *_: files)
    with pytest.raises(InputError, match=problem):
        export_recommender(tmp_path / "out", blended.world.workspace)
    assert not list(tmp_path.iterdir())
