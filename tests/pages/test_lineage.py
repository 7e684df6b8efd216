"""The lineage of a workspace as a tree."""

from pathlib import Path

from gti_cli.pages.lineage import lineage_rows
from gti_cli.workspace import Workspace
from gti_cli.workspace.lineage import ArtifactState, inspect
from gti_cli.workspace.manifest import Manifest
from tests.support.commands import make_manifest
from tests.support.stages import run_stage


def state(name: str, *upstream: str, reasons: tuple[str, ...] = (), **fields: object) -> ArtifactState:
    manifest = make_manifest(name, upstream=dict.fromkeys(upstream, "x"), **fields)
    return ArtifactState(manifest, [*upstream, *manifest.inputs], list(reasons))


def test_an_artifact_stands_below_the_one_with_the_longest_past() -> None:
    table = {"titles.csv": {"path": "/a/b/titles.csv", "sha256": "0" * 64, "bytes": 1}}
    states = [
        state("semantic_ids"),
        state("extended", "semantic_ids"),
        state("other", "semantic_ids"),
        state("grounded", "extended", "semantic_ids", inputs=table, options={"epochs": 2}),
        state(
            "evaluation/x", "semantic_ids", "grounded", "other", reasons=("grounded is stale", "other was made again")
        ),
    ]
    rows = lineage_rows(states)
    assert [(row.name, row.depth) for row in rows] == [
        ("semantic_ids", 0),
        ("extended", 1),
        ("grounded", 2),
        ("evaluation/x", 3),
        ("other", 1),
    ]
    assert [row.sources for row in rows] == ["–", "–", "titles.csv", "other", "–"]
    assert (rows[2].options, rows[2].inputs) == ("epochs 2", f"titles.csv titles.csv ({'0' * 16})")
    assert (rows[3].tone, rows[3].state) == ("middle", "out of date: other was made again")
    assert (rows[0].tone, rows[0].state, rows[0].seconds) == ("good", "up to date", 2.5)


def test_what_is_wrong_with_a_source_is_not_repeated(tmp_path: Path) -> None:
    source = tmp_path / "items.csv"
    source.write_text("x")
    _, first = run_stage(tmp_path / "ws", inputs={"items": source})
    run_stage(tmp_path / "ws", "two", name="other", upstream={"thing": first})
    (tmp_path / "ws" / "thing.txt").write_text("edited")
    rows = lineage_rows(inspect(Workspace(tmp_path / "ws")))
    assert [row.state for row in rows] == ["out of date: thing.txt was edited", "out of date: what it was made from is"]


def test_damaged_artifacts_and_circles_are_listed() -> None:
    damaged = ArtifactState(Manifest.placeholder("broken"), [], ["no manifest"], damaged=True)
    rows = lineage_rows([state("a", "b"), state("b", "a"), damaged])
    assert sorted(row.name for row in rows) == ["a", "b", "broken"]
    assert next(row for row in rows if row.name == "broken").tone == "bad"
