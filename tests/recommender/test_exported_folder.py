from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.exporting.export_recommender import export_recommender
from gti_cli.recommender.exported_folder import (
    CATALOGUE,
    FOLDER_MANIFEST,
    describe_file,
    exported_folder,
    open_exported,
    read_folder_manifest,
)
from gti_cli.recommender.results import TrainedOn
from gti_cli.workspace.manifest import canonical_digest
from tests.support.blends import Blended


@pytest.fixture(scope="module")
def exported(blended: Blended, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "folder"
    export_recommender(folder, blended.world.workspace)
    return folder


def test_what_a_folder_holds(exported: Path, blended: Blended) -> None:
    opened = open_exported(exported)
    assert opened.catalogue.item_ids == blended.world.item_ids
    assert (opened.catalogue.codes == blended.world.codes).all()
    assert opened.titles["i3"] == "Dress number 3" and len(opened.titles) == len(blended.world.item_ids)
    assert (opened.manifest.name, opened.manifest.sizes, opened.trained_on) == ("finetuned", [4, 3, 5], TrainedOn())
    assert opened.embeddings == exported / "embeddings.safetensors"
    checkpoint = opened.checkpoint()
    assert checkpoint is not None and checkpoint.artifact == "finetuned" and opened.blend() is None
    assert checkpoint.known_manifest is not None and checkpoint.known_manifest.options["history"] == 4


def test_every_file_is_listed_with_its_digest(exported: Path) -> None:
    listed = read_folder_manifest(exported).files
    present = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert present - set(listed) <= {FOLDER_MANIFEST, "README.md", "checkpoint/README.md"}
    for name, entry in listed.items():
        content = (exported / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_the_folder_is_named_or_stands_for_the_workspace(exported: Path, tmp_path: Path) -> None:
    assert exported_folder(exported, None) == exported_folder(exported, "finetuned") == exported
    assert exported_folder(tmp_path, str(exported)) == exported
    assert exported_folder(tmp_path, "finetuned") is None and exported_folder(tmp_path, None) is None
    assert open_exported(exported, "finetuned").manifest.name == "finetuned"
    assert open_exported(exported, str(exported)).manifest.name == "finetuned"
    with pytest.raises(InputError, match="holds the checkpoint 'finetuned', and not 'other'"):
        open_exported(exported, "other")


def test_a_name_is_looked_up_in_the_workspace_before_the_current_folder(
    exported: Path, blended: Blended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("finetuned", "mine"):
        (tmp_path / name).symlink_to(exported)
    monkeypatch.chdir(tmp_path)
    assert exported_folder(blended.world.workspace, "finetuned") is None
    assert exported_folder(exported, "finetuned") == exported
    assert exported_folder(blended.world.workspace, "mine") == Path("mine")
    assert exported_folder(blended.world.workspace, "./finetuned") == Path("finetuned")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def link(path: Path, target: Path) -> None:
    if path.exists():
        path.rename(target)
    path.symlink_to(target)


def edit_manifest(path: Path, *, seal: bool, **changes: object) -> None:
    payload = {**json.loads(path.read_text("utf-8")), **changes}
    digest = payload.pop("digest")
    path.write_text(json.dumps({**payload, "digest": canonical_digest(payload) if seal else digest}))


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda f: (f / "checkpoint/model.safetensors").unlink(), r"checkpoint/model\.safetensors: .* is missing"),
        (lambda f: flip(f / "checkpoint/model.safetensors"), r"model\.safetensors: .* was changed after"),
        (lambda f: flip(f / "embeddings.safetensors"), r"embeddings\.safetensors: .* was changed after"),
        (lambda f: (f / "catalogue.parquet").write_bytes(b""), r"catalogue\.parquet: .* was changed after"),
        (lambda f: (f / FOLDER_MANIFEST).write_text("{}"), "no manifest of an exported recommender"),
        (lambda f: (f / FOLDER_MANIFEST).write_text("[1"), "no manifest of an exported recommender"),
        (lambda f: edit_manifest(f / FOLDER_MANIFEST, seal=False, name="x"), "manifest was edited or damaged"),
        (lambda f: edit_manifest(f / FOLDER_MANIFEST, seal=True, more=1), "no manifest of an exported recommender"),
        *(
            (lambda f, part=part: edit_manifest(f / FOLDER_MANIFEST, seal=True, **part), "no manifest of an exported")
            for part in (
                {"files": {CATALOGUE: {"bytes": 1}}},
                {"files": {CATALOGUE: 1}},
                {"files": [1]},
                {"trained_on": 1},
            )
        ),
        (
            lambda f: edit_manifest(f / FOLDER_MANIFEST, seal=True, format=2),
            "format 2, and this version of gti reads 1",
        ),
        (
            lambda f: edit_manifest(f / FOLDER_MANIFEST, seal=True, files={"../x": describe_file(f / FOLDER_MANIFEST)}),
            "'../x', which is outside the folder",
        ),
        (lambda f: (f / "checkpoint/added_tokens.json").write_text("{}"), r"added_tokens\.json: .* was added after"),
        (lambda f: link(f / "checkpoint/additional_chat_templates", f.parent), r"templates: .* was added after"),
        (lambda f: link(f / "catalogue.parquet", f.parent / "outside"), r"catalogue\.parquet: .*leads out of the"),
        (
            lambda f: edit_manifest(f / FOLDER_MANIFEST, seal=True, embeddings="../outside"),
            r"does not list '\.\./outside'",
        ),
        (lambda f: edit_manifest(f / FOLDER_MANIFEST, seal=True, kind="blend", name="/tmp"), "does not list '/tmp/b"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(
    exported: Path, tmp_path: Path, harm: Callable[[Path], object], problem: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    harm(folder)
    with pytest.raises(InputError, match=problem) as caught:
        opened = open_exported(folder)
        assert opened.embeddings and opened.blend()
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_cards_and_hidden_files_may_be_added(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    (folder / ".cache").mkdir()
    for name in (".cache/x", ".gitattributes", "README.md", "checkpoint/README.md"):
        (folder / name).write_text("mine")
    assert open_exported(folder).manifest.name == "finetuned"


@pytest.mark.parametrize("place", ["/somewhere", "../../outside", "members/nobody"])
def test_members_of_a_blend_lie_in_the_folder(blended: Blended, tmp_path: Path, place: str) -> None:
    folder, name = tmp_path / "folder", blended.manifest.name
    export_recommender(folder, blended.world.workspace, name)
    file = folder / name / "blend.json"
    content = json.loads(file.read_text("utf-8"))
    (member,) = [entry for entry in content["members"] if entry["checkpoint"]]
    member["checkpoint"] = place
    file.write_text(json.dumps(content))
    files = read_folder_manifest(folder).files
    edit_manifest(folder / FOLDER_MANIFEST, seal=True, files={**files, f"{name}/blend.json": describe_file(file)})
    with pytest.raises(InputError, match=f"does not list .*{place}/config.json"):
        open_exported(folder).blend()
