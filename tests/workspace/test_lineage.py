"""`inspect` finds what is stale and says why."""

from __future__ import annotations

import json
from pathlib import Path

from gti_cli.workspace import Workspace
from gti_cli.workspace.lineage import inspect


def make(root: Path, name: str, text: str, upstream: str | None = None, source: Path | None = None) -> None:
    space = Workspace(root)
    above = {upstream: space.require(upstream, "make")} if upstream else {}
    with space.stage(
        "make", name, [f"{name}.txt"], options={"text": text}, upstream=above, inputs={"items": source}, force=True
    ) as run:
        if not run.done:
            run.path(f"{name}.txt").write_text(text)


def reasons(root: Path) -> dict[str, list[str]]:
    return {state.manifest.name: state.reasons for state in inspect(Workspace(root))}


def test_chain_is_stale_below_what_was_made_anew(tmp_path: Path) -> None:
    make(tmp_path, "a", "1")
    make(tmp_path, "b", "1", "a")
    make(tmp_path, "c", "1", "b")
    assert reasons(tmp_path) == {"a": [], "b": [], "c": []}
    make(tmp_path, "a", "2")
    found = reasons(tmp_path)
    assert found == {"a": [], "b": ["a was made again"], "c": ["b is stale"]}
    make(tmp_path, "a", "1")  # the same again: everything fits once more
    assert reasons(tmp_path) == {"a": [], "b": [], "c": []}


def test_edited_missing_and_changed_input(tmp_path: Path) -> None:
    source = tmp_path / "items.csv"
    source.write_text("x")
    make(tmp_path / "w", "a", "1", source=source)
    make(tmp_path / "w", "b", "1")
    source.write_text("y")
    (tmp_path / "w" / "b.txt").write_text("edited")
    found = reasons(tmp_path / "w")
    assert found["a"] == [f"items ({source}) has changed"]
    assert found["b"] == ["b.txt was edited"]
    (tmp_path / "w" / "b.txt").unlink()
    source.unlink()
    assert reasons(tmp_path / "w") == {"a": [], "b": ["b.txt is missing"]}


def test_upstream_gone(tmp_path: Path) -> None:
    make(tmp_path, "a", "1")
    make(tmp_path, "b", "1", "a")
    (tmp_path / "a.json").unlink()
    assert reasons(tmp_path)["b"] == ["a is gone"]


def test_damaged_manifests_are_listed_and_other_json_is_not(tmp_path: Path) -> None:
    make(tmp_path, "a", "1")
    make(tmp_path, "b", "1", "a")
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seed": 7}))
    (tmp_path / "semantic_ids.json").write_text("{}")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "gti.json").write_text("{")
    (tmp_path / "package.json").write_text("{}")
    states = {state.manifest.name: state for state in inspect(Workspace(tmp_path))}
    assert sorted(states) == ["a", "b", "c", "semantic_ids"]
    assert states["a"].state == "damaged: the manifest was edited or damaged"
    assert states["b"].state == "stale: a is damaged"
    assert states["c"].state == states["semantic_ids"].state == "damaged: this is no manifest of gti, or a damaged one"
