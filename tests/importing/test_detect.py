"""Formats are recognised from the files themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.importing.detect import FORMAT_NAMES, find_format
from gti_cli.importing.sources import find_files
from tests.support import public_data


@pytest.mark.parametrize("name", list(public_data.MAKERS))
def test_every_format_is_recognised_and_no_other(name: str, tmp_path: Path) -> None:
    files = find_files([public_data.MAKERS[name](tmp_path)])
    assert find_format(files, None).name == name
    assert find_format(files, name).name == name


def test_2014_is_read_as_2018(tmp_path: Path) -> None:
    assert find_format(find_files([public_data.amazon_2014(tmp_path)]), None).title == "Amazon reviews (2014 or 2018)"


def test_unknown_files_and_names(tmp_path: Path) -> None:
    public_data.write(tmp_path, {"x.csv": "a,b\n1,2\n"})
    files = find_files([tmp_path])
    with pytest.raises(InputError, match=r"no format that gti recognises.*--columns"):
        find_format(files, None)
    with pytest.raises(InputError, match=r"--format 'netflix' is not known.*recbole"):
        find_format(files, "netflix")


def test_names_are_unique() -> None:
    assert len(set(FORMAT_NAMES)) == len(FORMAT_NAMES)
