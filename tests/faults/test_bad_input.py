"""Commands on wrong files: each is accepted, or refused in one line that names the file, with nothing written.

The suite runs a few of the cases. ``GTI_BAD_INPUT=all pytest tests/faults/test_bad_input.py`` runs all of them
(`tests.support.bad_input`), ``GTI_BAD_INPUT=all:2/4`` the second quarter.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from gti_cli.app import run
from tests.support.bad_input.cases import Case, all_cases
from tests.support.bad_input.judge import contents, fault_of, make_shop

_FEW = 60  # every sixtieth case is in the suite


def chosen() -> list[Case]:
    """The cases of this run."""
    cases, wanted = all_cases(), os.environ.get("GTI_BAD_INPUT", "")
    if not wanted:
        return cases[7::_FEW]
    part, _, parts = wanted.partition(":")[2].partition("/")
    return cases[int(part) - 1 :: int(parts)] if parts else cases


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "shop"
    folder.mkdir()
    make_shop(folder, run)
    return folder


@pytest.mark.parametrize("case", chosen(), ids=lambda case: case.name.encode("ascii", "backslashreplace").decode())
def test_wrong_files_are_refused_in_one_line(
    case: Case, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = tmp_path / "here"
    shutil.copytree(shop, folder)
    case.write(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "4000")
    before = contents(folder)
    capsys.readouterr()
    code = run(case.command)
    shown = capsys.readouterr()
    refusal = shown.err[shown.err.find("error: ") :] if code else ""
    fault = fault_of(case, code, shown.out + shown.err, refusal, contents(folder) == before)
    assert fault is None, fault
