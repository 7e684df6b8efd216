"""What a card tells about the stages before, and what it must not tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.cards.history import figures, input_lines, lineage_of, option_text, public_name, stage_lines
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest


def chain(root: Path) -> list[Manifest]:
    """Three artifacts, each made from all before it and from a file."""
    space, made = Workspace(root / "space"), []
    for number, name in enumerate(("first", "second", "third")):
        file = root / f"{name}.csv"
        file.write_text(name)
        with space.stage(
            f"make-{name}",
            name,
            [f"{name}.txt"],
            options={"rate": 0.5, "none": None},
            inputs={"table": file},
            upstream={manifest.name: manifest for manifest in made},
            seed=number,
        ) as run:
            run.path(f"{name}.txt").write_text(name)
        made.append(run.result())
    return made


def test_stages_and_files_in_the_order_of_the_work(tmp_path: Path) -> None:
    made = chain(tmp_path)
    lineage = lineage_of(Workspace(tmp_path / "space"), made[2])
    assert [manifest.name for manifest in lineage] == ["first", "second", "third"]
    assert [(line.command, line.seed, line.options) for line in stage_lines(lineage)] == [
        ("make-first", 0, "rate 0.5"),
        ("make-second", 1, "rate 0.5"),
        ("make-third", 2, "rate 0.5"),
    ]
    files = input_lines(lineage)
    assert [line.file for line in files] == ["first.csv", "second.csv", "third.csv"]
    assert files[0].digest == made[0].inputs["table"]["sha256"][:16]


@pytest.mark.parametrize("change", ["gone", "damaged", "other"])
def test_a_stage_that_is_no_longer_there_is_left_out(tmp_path: Path, change: str) -> None:
    made = chain(tmp_path)
    space, path = Workspace(tmp_path / "space"), tmp_path / "space" / "first.json"
    if change == "gone":
        path.unlink()
    elif change == "damaged":
        path.write_text("{")
    else:
        with space.stage("make-first", "first", ["first.txt"], options={"rate": 1}, force=True) as run:
            run.path("first.txt").write_text("other")
    assert [manifest.name for manifest in lineage_of(space, made[2])] == ["second", "third"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/somebody/secret project/items.parquet", "items.parquet"),
        ("items.parquet", "items.parquet"),
        ("https://x.org/shop/items.parquet?token=abc", "items.parquet"),
        ("s3://bucket/shop/items.parquet", "items.parquet"),
        ("hf://datasets/owner/shop/items.parquet", "hf://datasets/owner/shop/items.parquet"),
    ],
)
def test_a_file_is_told_without_its_folder(path: str, name: str) -> None:
    assert public_name(path) == name


def test_options_and_figures_as_text() -> None:
    options = {
        "tasks": ["next-item", "search:0.5"],
        "lora": True,
        "off": False,
        "empty": [],
        "file": "/home/x/a.txt",
        "n": 0,
        "k": {"b": False, "a": 1},
    }
    assert option_text(options) == "file a.txt, k (a 1), lora yes, n 0, tasks next-item search:0.5"
    values = {
        "loss": 1.23456,
        "steps": 12345,
        "nested": {"a": 1},
        "list": [1],
        "flag": True,
        "small": 1.5e-7,
        "none": None,
    }
    assert figures(values) == {"loss": "1.235", "small": "1.5e-07", "steps": "12,345"}
