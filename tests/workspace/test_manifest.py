"""Manifests: what their digest covers, what is read back, and how a difference is put into words."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gti_cli.errors import InputError
from gti_cli.workspace.manifest import (
    Manifest,
    canonical_digest,
    digest_outputs,
    digest_path,
    is_unchanged,
    read_manifest,
)
from gti_cli.workspace.sealed import seal
from tests.support.alphabets import UNUSUAL
from tests.support.stages import run_stage

MANIFEST = Manifest(
    name="model",
    command="train",
    options={"rate": 0.1},
    seed=0,
    inputs={"items": {"path": "items.csv", "bytes": 3, "sha256": "abc"}},
    upstream={"semantic_ids": "xyz"},
    outputs={"model": "def"},
    details={"sizes": [4, 4]},
    counts={"steps": 3},
    metrics={"loss": 0.5},
    request="123",
    run={"seconds": 1.5, "finished": "2026-01-01"},
)


def test_damaged_manifest_is_reported(tmp_path: Path) -> None:
    run_stage(tmp_path)
    path = tmp_path / "thing.json"
    payload = json.loads(path.read_text())
    path.write_text(json.dumps({**payload, "seed": 7}))
    with pytest.raises(InputError, match="edited or damaged"):
        read_manifest(path)
    path.write_text("{")
    with pytest.raises(InputError, match="no manifest"):
        read_manifest(path)


def test_same_work_gives_the_same_digest_in_another_folder(tmp_path: Path) -> None:
    _, first = run_stage(tmp_path / "a")
    _, second = run_stage(tmp_path / "b")
    assert first.digest == second.digest
    assert run_stage(tmp_path / "c", "other")[1].digest != first.digest


def test_a_manifest_comes_back_from_its_json() -> None:
    payload = json.loads(json.dumps(MANIFEST.to_json()))
    assert Manifest.from_json(payload) == MANIFEST and payload["digest"] == MANIFEST.digest
    with pytest.raises(KeyError):
        Manifest.from_json({"name": "model"})


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"command": "other"},
        {"options": {}},
        {"seed": 1},
        {"inputs": {}},
        {"upstream": {}},
        {"outputs": {}},
        {"details": {}},
        {"counts": {}},
        {"metrics": {}},
        {"request": "124"},
    ],
)
def test_the_digest_covers_every_field_but_run(change: dict[str, Any]) -> None:
    assert replace(MANIFEST, **change).digest != MANIFEST.digest
    moved = {"items": {"path": "elsewhere.csv", "bytes": 3, "sha256": "abc"}}
    assert replace(MANIFEST, run={}, inputs=moved).digest == MANIFEST.digest


def test_a_stage_may_set_the_identity_that_others_record() -> None:
    assert MANIFEST.identity == MANIFEST.digest
    assert replace(MANIFEST, details={"identity": "first batch"}).identity == "first batch"


def test_a_placeholder_holds_what_it_is_given_and_nothing_else() -> None:
    empty = Manifest.placeholder("model")
    assert (empty.name, empty.command, empty.outputs, empty.run, empty.seconds) == ("model", "", {}, {}, 0.0)
    filled = Manifest.placeholder("model", counts={"steps": 3}, run={"seconds": 2.0})
    assert filled == replace(empty, counts={"steps": 3}, run={"seconds": 2.0})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": {"rate": 0.2, "new": 1}}, "with other inputs or options: new None -> 1; rate 0.1 -> 0.2"),
        ({"seed": 5}, "with other inputs or options: seed 0 -> 5"),
        ({"inputs": {}}, "with other inputs or options: input items differs"),
        ({"upstream": {"semantic_ids": "abc"}}, "with other inputs or options: semantic_ids differs"),
        ({}, "and its files were changed since"),
    ],
)
def test_a_difference_in_words(change: dict[str, Any], words: str) -> None:
    request = {"options": {"rate": 0.1}, "seed": 0, "inputs": {"items": "abc"}, "upstream": {"semantic_ids": "xyz"}}
    assert MANIFEST.difference({**request, **change}) == words


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9), lambda inner: st.lists(inner, max_size=3), max_leaves=4
)


@settings(max_examples=30)
@given(st.dictionaries(st.text(UNUSUAL, max_size=3), JSON, max_size=4))
def test_the_order_of_keys_does_not_change_a_digest(payload: dict[str, Any]) -> None:
    backwards = dict(reversed(payload.items()))
    assert canonical_digest(backwards) == canonical_digest(payload)
    assert canonical_digest({**payload, "one more": 1}) != canonical_digest({**payload, "one more": 2})


def test_the_digest_of_a_folder_covers_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a" / "inner").mkdir(parents=True)
    (tmp_path / "a" / "x").write_bytes(b"1")
    (tmp_path / "a" / "inner" / "y").write_bytes(b"2")
    assert digest_path(tmp_path / "a" / "x") == hashlib.sha256(b"1").hexdigest()
    before = digest_path(tmp_path / "a")
    (tmp_path / "a" / "gti.json").write_text("{}")
    assert digest_path(tmp_path / "a", skip="gti.json") == before != digest_path(tmp_path / "a")
    (tmp_path / "a" / "gti.json").unlink()
    (tmp_path / "a").rename(tmp_path / "b")
    assert digest_path(tmp_path / "b") == before
    (tmp_path / "b" / "x").rename(tmp_path / "b" / "z")
    assert digest_path(tmp_path / "b") != before


def test_an_output_that_a_stage_did_not_write_is_a_bug(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    assert digest_outputs(tmp_path, ["a"]) == {"a": hashlib.sha256(b"1").hexdigest()}
    with pytest.raises(RuntimeError, match="did not write b"):
        digest_outputs(tmp_path, ["a", "b"])


def test_a_model_card_does_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"1")
    before = digest_path(folder)
    for text in (seal("# Card\n", "1"), seal("# Card\n", "2"), seal("# Card\n", "1").replace("Card", "Edited")):
        (folder / "README.md").write_text(text)
        assert digest_path(folder) == before and is_unchanged(folder, before)
    # A card that somebody wrote anew counts where a folder is an input, but does not make an output a changed one.
    (folder / "README.md").write_text("# Ours\n")
    assert digest_path(folder) != before and is_unchanged(folder, before)
    (folder / "weights").write_bytes(b"2")
    assert not is_unchanged(folder, before)


def test_old_outputs_whose_digest_includes_a_readme_are_unchanged(tmp_path: Path) -> None:
    """`gti extend` used to copy the card of the base model."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"1")
    (folder / "README.md").write_text("# Base model\n")
    before = digest_path(folder)
    (folder / "gti.json").write_text("{}")
    assert is_unchanged(folder, before) and is_unchanged(folder / "weights", digest_path(folder / "weights"))
    (folder / "README.md").write_text("# Another\n")
    assert not is_unchanged(folder, before)
