from __future__ import annotations

import errno
from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.exporting.output_folder import check_folder, replacing_folder
from gti_cli.recommender.exported_folder import FOLDER_MANIFEST


def test_a_failed_rename_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    rename = Path.replace

    def fail(path: Path, target: Path) -> Path:
        if path.name == ".out.part":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="Input/output"), replacing_folder(tmp_path / "out"):
        pass
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["out", "out/old"]


def test_the_folder_that_the_shell_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for output in (Path(), Path(".."), Path("/"), tmp_path):
        with pytest.raises(InputError, match="the folder that you are in"):
            check_folder(output, force=True)
    check_folder(Path("new"), force=False)


def test_a_kill_between_the_renames_loses_no_folder(tmp_path: Path) -> None:
    output, replaced = tmp_path / "out", tmp_path / ".out.replaced"
    replaced.mkdir()
    (replaced / FOLDER_MANIFEST).write_text("old")
    with pytest.raises(InputError, match="is there already"):
        check_folder(output, force=False)
    assert (output / FOLDER_MANIFEST).read_text() == "old" and not replaced.exists()
    # Killed a moment later: the new folder is there, and the old one goes.
    replaced.mkdir()
    (replaced / FOLDER_MANIFEST).write_text("older")
    check_folder(output, force=True)
    assert (output / FOLDER_MANIFEST).read_text() == "old" and not replaced.exists()


def test_a_folder_of_such_a_name_that_is_the_users_stays(tmp_path: Path) -> None:
    (tmp_path / ".out.replaced").mkdir()
    (tmp_path / ".out.replaced" / "mine").touch()
    check_folder(tmp_path / "out", force=False)
    assert (tmp_path / ".out.replaced" / "mine").exists()
