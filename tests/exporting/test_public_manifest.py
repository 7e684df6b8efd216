from __future__ import annotations

from gti_cli.exporting.public_manifest import public_manifest, stage_entries, without_paths
from gti_cli.workspace.manifest import Manifest


def test_absolute_paths_become_names() -> None:
    value = {
        "a": ["/home/me/x.parquet", "rel/x", 3, None],
        "b": {"c": "C:\\Users\\me\\y"},
        "d": "https://example.org/z",
    }
    assert without_paths(value) == {"a": ["x.parquet", "rel/x", 3, None], "b": {"c": "y"}, "d": "https://example.org/z"}


def test_tokens_are_no_paths() -> None:
    value = {"unk_token": "/", "added_tokens_decoder": {"7": {"content": "/a"}}, "chat_template": "/b {{ c }}"}
    assert without_paths({**value, "name_or_path": "/home/me/lm"}) == {**value, "name_or_path": "lm"}


def test_a_manifest_keeps_what_it_says_and_its_digest() -> None:
    inputs = {
        "interactions": {"path": "/home/me/i.parquet", "bytes": 3, "sha256": "ab"},
        "data": {"path": "hf://datasets/a/b@main", "bytes": 3, "sha256": "cd"},
    }
    made = Manifest("lm", "finetune", {"epochs": 2}, 7, inputs, {}, {"lm": "ef"}, {"model": "tiny"}, {}, {}, "r", {})
    public = public_manifest(made)
    assert public.digest == made.digest and public.options == made.options
    paths = {role: entry["path"] for role, entry in public.inputs.items()}
    assert paths == {"interactions": "i.parquet", "data": "hf://datasets/a/b@main"}
    assert made.inputs["interactions"]["path"] == "/home/me/i.parquet"
    (entry,) = stage_entries([made])
    assert (entry["command"], entry["seed"], entry["digest"], entry["inputs"]) == (
        "finetune",
        7,
        made.digest,
        public.inputs,
    )
    other = public_manifest(
        Manifest("lm", "x", {"init": "/home/me/lm"}, 0, {}, {}, {}, {}, {}, {}, "r", {"at": "/tmp/y"})
    )
    assert (other.options, other.run) == ({"init": "lm"}, {"at": "y"})
