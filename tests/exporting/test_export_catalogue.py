from __future__ import annotations

import json
import shlex
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gti_cli.checkpoints.loading import load_tokenizer
from gti_cli.checkpoints.saving import PRIOR_FILE
from gti_cli.checkpoints.token_names import semantic_id
from gti_cli.errors import InputError
from gti_cli.exporting.engines import ENGINES
from gti_cli.exporting.export_catalogue import export_catalogue
from gti_cli.prompts.prompt_file import PROMPT_FILE
from gti_cli.workspace import Workspace
from tests.support.evaluation import add_checkpoint, add_prompt_file, add_semantic_ids, make_codes

CODES = np.delete(make_codes(), 7, axis=0)  # without the item that shares its semantic ID
IDS = [f"i{n}" for n in range(len(CODES))]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("catalogue") / "ws")
    ids = add_semantic_ids(made, CODES)
    add_checkpoint(made, ids, also=add_prompt_file)
    add_checkpoint(made, ids, "llama", kind="llama")
    return made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace(tmp_path_factory.mktemp("shared") / "ws")
    add_checkpoint(made, add_semantic_ids(made, make_codes()))
    return made


def token_paths(space: Workspace) -> list[list[int]]:
    """The token ids of every item, as the checkpoint's tokenizer makes them of the item's text."""
    tokenizer = load_tokenizer(str(space.path("finetuned")))
    return [tokenizer(semantic_id(row), add_special_tokens=False)["input_ids"] for row in CODES]


def test_each_engine_gets_the_tokens_of_every_item(space: Workspace, tmp_path: Path) -> None:
    paths = token_paths(space)
    done = {
        name: export_catalogue(tmp_path / name, space.root, "finetuned", engine=name)
        for name in ENGINES
        if name != "xllm"
    }
    lines = [json.loads(line) for line in (tmp_path / "nvidia").read_text("utf-8").splitlines()]
    assert [line["item_id"] for line in lines] == IDS and [line["token_ids"] for line in lines] == paths
    assert [line["metadata"]["title"] for line in lines] == [f"Dress number {n}" for n in range(len(IDS))]
    with np.load(tmp_path / "static") as arrays:
        tokens = arrays["token_ids"][arrays["semantic_ids"]].tolist()
        assert dict(zip(arrays["item_ids"].tolist(), tokens, strict=True)) == dict(zip(IDS, paths, strict=True))
    catalog = json.loads((tmp_path / "flashrec").read_text("utf-8"))
    # FlashRec finds the token of a code by the layout START:END/SIZES that its command names.
    start, sizes = done["flashrec"].command.split("--sid ")[1].split("/")
    first = int(start.split(":")[0]) + np.cumsum([0, *map(int, sizes.split(","))])[:-1]
    found = {item: (np.asarray(key.split(","), dtype=int) + first).tolist() for key, item in catalog.items()}
    assert found == dict(zip(IDS, paths, strict=True))
    assert all((one.items, one.semantic_ids, one.levels) == (len(IDS), len(IDS), 3) for one in done.values())
    vocabulary = json.loads((space.path("finetuned") / "config.json").read_text())["vocab_size"]
    assert f"--catalog-vocab-size {vocabulary} --decode-steps 3" in done["nvidia"].command
    assert done["static"].numbers()["dense_levels"] == 2 and not done["static"].command


def test_xllm_gets_codes_without_a_checkpoint_and_tokens_of_its_own_kind_of_model(
    space: Workspace, tmp_path: Path
) -> None:
    export_catalogue(tmp_path / "codes", space.root, engine="xllm")
    records = list(struct.iter_unpack("<q3i", (tmp_path / "codes").read_bytes()))
    assert [list(codes) for _, *codes in records] == CODES.tolist()
    folder = tmp_path / "onerec"
    folder.mkdir()
    for name in ("new_tokens.parquet", "config.json"):
        (folder / name).write_bytes((space.path("finetuned") / name).read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "onerec"}))
    export_catalogue(tmp_path / "tokens", space.root, str(folder), engine="xllm")
    records = list(struct.iter_unpack("<q3i", (tmp_path / "tokens").read_bytes()))
    assert [list(tokens) for _, *tokens in records] == token_paths(space)


@pytest.mark.parametrize(
    ("engine", "checkpoint", "problem"),
    [
        ("vllm", None, "--engine 'vllm' is not known"),
        ("nvidia", None, "none was given"),
        ("flashrec", "llama", "FlashRec restricts models of the type 'qwen3' alone"),
        ("nvidia", "llama", "'llama'"),
        ("xllm", "finetuned", "'onerec'"),
        ("static", "missing", "missing"),
    ],
)
def test_what_an_engine_cannot_take(
    space: Workspace, tmp_path: Path, engine: str, checkpoint: str | None, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        export_catalogue(tmp_path / "x", space.root, checkpoint, engine=engine)
    assert not list(tmp_path.iterdir())


def test_items_that_share_an_id(shared: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for engine in (None, "flashrec"):
        with pytest.raises(InputError, match=r"share a semantic ID \('i3', 'i7'\)"):
            export_catalogue(tmp_path / "x", shared.root, engine=engine)
    assert not list(tmp_path.iterdir())
    for engine in ("nvidia", "static", "xllm"):
        checkpoint = None if engine == "xllm" else "finetuned"
        done = export_catalogue(tmp_path / engine, shared.root, checkpoint, engine=engine)
        assert (done.items, done.semantic_ids) == (26, 25)
    assert capsys.readouterr().err.count("1 items share the semantic ID of another") == 2
    assert export_catalogue(tmp_path / "nvidia", shared.root, "finetuned", engine="nvidia").command.endswith("-paths")


def test_without_an_engine_a_script_and_only_the_commands_that_work(
    space: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = export_catalogue(tmp_path / "x y", space.root, "finetuned")
    assert done.command.startswith("flashrec --serve") and str(tmp_path / "x y") in shlex.split(done.command)
    assert "gti_prompt.json" in done.script
    assert not export_catalogue(tmp_path / "x", space.root, "finetuned", engine="flashrec").script
    capsys.readouterr()
    assert not export_catalogue(tmp_path / "x", space.root, "llama").command
    told = " ".join(capsys.readouterr().err.split())
    assert "no command for FlashRec" in told and "'llama'" in told and "no script" in told


def test_a_prior_that_engines_leave_out_is_said(
    space: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_checkpoint(space, space.manifest("semantic_ids"), "prior", also=lambda folder: touch(folder / PRIOR_FILE))
    export_catalogue(tmp_path / "x", space.root, "prior", engine="nvidia")
    assert "prior was trained with a behaviour prior" in " ".join(capsys.readouterr().err.split())


def test_a_prior_and_a_question_on_the_hub_are_found(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"owner/tuned": ("config.json", PRIOR_FILE, PROMPT_FILE), "owner/plain": ("config.json",)}
    tokenizer = load_tokenizer(str(space.path("finetuned")))

    def cached_file(name: str, file: str, **_: Any) -> str | None:
        return str(tmp_path / name / file) if file in files[name] else None

    monkeypatch.setattr("transformers.utils.hub.cached_file", cached_file)
    monkeypatch.setattr("gti_cli.checkpoints.finding.load_tokenizer", lambda _: tokenizer)
    question = tmp_path / "owner/tuned" / PROMPT_FILE
    question.parent.mkdir(parents=True)
    shutil.copyfile(space.path("finetuned") / PROMPT_FILE, question)
    for name, warned in (("owner/tuned", True), ("owner/plain", False)):
        # The question that is asked lies on the hub, too.
        assert bool(export_catalogue(tmp_path / "x", space.root, name).script) == warned
        capsys.readouterr()
        export_catalogue(tmp_path / "x", space.root, name, engine="static")
        said = " ".join(capsys.readouterr().err.split())
        assert (f"{name} was trained with a behaviour prior" in said) == warned


def touch(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
