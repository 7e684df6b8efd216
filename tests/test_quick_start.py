"""What is left out of the start of a command, and that it is left out of commands alone."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import utils

from gti_cli import quick_start


@pytest.fixture(autouse=True)
def process_of_others(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(quick_start, "_begun", [])
    monkeypatch.setattr(quick_start, "_waiting", [])
    thresholds, frozen = gc.get_threshold(), gc.get_freeze_count()
    yield
    gc.set_threshold(*thresholds)
    if not frozen:
        gc.unfreeze()


def test_garbage_is_looked_for_seldom_until_the_first_model() -> None:
    usual, before = gc.get_threshold(), gc.get_freeze_count()
    quick_start.settle()
    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() == before
    quick_start.begin()
    assert gc.get_threshold()[0] > usual[0]
    quick_start.settle()
    assert gc.get_threshold() == usual
    frozen = gc.get_freeze_count()
    assert frozen > before
    more = [[number] for number in range(1000)]  # part of a model, perhaps of a cycle: it must not be frozen
    quick_start.settle()
    assert gc.get_freeze_count() < frozen + len(more)


USER = "from transformers.utils import is_peft_available\nknows = is_peft_available()\n"


@pytest.mark.parametrize("begun", [True, False])
def test_modules_of_transformers_find_packages_missing(
    begun: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_user_of_peft.py").write_text(USER, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "peft", raising=False)
    if begun:
        quick_start.begin()
    quick_start.import_transformers("a_user_of_peft", "peft", "scipy.optimize")
    module = sys.modules.pop("a_user_of_peft", None)
    assert (module is not None) == begun
    assert module is None or not module.knows
    assert utils.is_peft_available() and utils.is_scipy_available()


def test_a_package_that_is_imported_stays_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_user_of_peft.py").write_text(USER, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "peft", sys)  # anything
    quick_start.begin()
    quick_start.import_transformers("a_user_of_peft", "peft")
    assert sys.modules.pop("a_user_of_peft").knows


ARROW = """
import sys
from gti_cli import quick_start
if sys.argv[1] == "begun":
    quick_start.begin()
quick_start.start_arrow()
import pyarrow as pa
assert pa.array([1.5, None]).to_numpy(zero_copy_only=False)[0] == 1.5
print("pandas" in sys.modules)
import pandas
"""


@pytest.mark.parametrize("begun", ["begun", "not begun"])
def test_arrow_starts_without_pandas(begun: str) -> None:
    run = subprocess.run([sys.executable, "-c", ARROW, begun], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(begun == "not begun")
