"""Inputs: what a manifest says of them, and how a change is noticed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.workspace.inputs import describe_files, describe_inputs, digest_again, digest_input, is_other_input
from gti_cli.workspace.manifest import Manifest
from tests.support.stages import run_stage


def test_inputs_are_described_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_bytes(b"abc")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"12345")
    described = describe_inputs({"items": tmp_path / "items.csv", "model": tmp_path / "model", "queries": None})
    assert {role: entry["bytes"] for role, entry in described.items()} == {"items": 3, "model": 5}
    assert described["items"]["sha256"] == hashlib.sha256(b"abc").hexdigest() == digest_input(tmp_path / "items.csv")
    with pytest.raises(InputError, match="no such file"):
        describe_inputs({"items": tmp_path / "absent.csv"})


class Shards(str):
    """Two files that are one input."""

    def describe(self) -> dict[str, Any]:
        return describe_files(str(self), [Path(self) / "1", Path(self) / "2"], {"split": "train[:3]"}, local=True)


def test_an_input_may_describe_itself(tmp_path: Path) -> None:
    for name in ("1", "2"):
        (tmp_path / name).write_text(name)
    described = describe_inputs({"items": Shards(tmp_path)})["items"]
    assert described["files"] == [str(tmp_path / "1"), str(tmp_path / "2")]
    assert (described["bytes"], described["split"]) == (2, "train[:3]")
    assert digest_again(described) == described["sha256"]
    (tmp_path / "2").write_text("3")
    assert digest_again(described) not in (None, described["sha256"])


def test_copies_are_no_files_that_may_change(tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("x")
    described = describe_files("s3://shop/x", [tmp_path / "copy"], {}, local=False)
    assert described == {"path": "s3://shop/x", "bytes": 1, "sha256": digest_input(tmp_path / "copy")}
    assert digest_again(described) is None


def test_a_stage_does_not_write_over_a_shard_of_its_input(tmp_path: Path) -> None:
    for name in ("1", "2"):
        (tmp_path / name).write_text(name)
    (tmp_path / "thing.txt").symlink_to(tmp_path / "2")
    with pytest.raises(InputError, match="this is an input of the command"):
        run_stage(tmp_path, inputs={"items": Shards(tmp_path)})


def test_another_input_than_the_recorded_one(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("one")
    second.write_text("two")
    manifest = replace(Manifest.placeholder("x"), inputs=describe_inputs({"table": first}))
    assert is_other_input(manifest, "table", second) and not is_other_input(manifest, "table", first)
    assert not is_other_input(manifest, "pairs", second) and not is_other_input(None, "table", second)
