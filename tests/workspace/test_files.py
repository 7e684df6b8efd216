from __future__ import annotations

import json
from pathlib import Path

import pytest

from gti_cli.workspace.files import make_folder, replacing, write_json


def test_the_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("begun", [False, True])
def test_an_error_leaves_what_was_there_and_no_half_file(tmp_path: Path, begun: bool) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(OSError, match="No space"), replacing(path) as temporary:
        if begun:
            temporary.write_text("ne")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_json_is_stable_and_strict(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    write_json(tmp_path / "b.json", {"a": [2], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "c.json", {"x": float("nan")})
    assert not (tmp_path / "c.json").exists()


def test_links_are_replaced_and_never_written_through(tmp_path: Path) -> None:
    path, outside = tmp_path / "a.json", tmp_path / "outside"
    outside.write_text("the user's")
    for link in (path, tmp_path / ".a.json.part"):
        link.symlink_to(outside)
    write_json(path, {"a": 1})
    assert outside.read_text() == "the user's"
    assert not path.is_symlink() and json.loads(path.read_text()) == {"a": 1}


@pytest.mark.parametrize("kept", ["", "a", "a/b/other"])
def test_an_interruption_leaves_no_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str) -> None:
    (tmp_path / kept).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    plain = Path.mkdir

    def interrupted(path: Path, *rest: int, **options: bool) -> None:
        """Make the folder, and be interrupted."""
        plain(path, *rest, **options)
        if path.name == "c":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_folder(tmp_path / "a/b/c")
    assert sorted(tmp_path.rglob("*")) == before
    make_folder(tmp_path / "a/b/c")
    make_folder(tmp_path / "a/b/c")
    assert (tmp_path / "a/b/c").is_dir()
