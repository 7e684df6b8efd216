"""The notebook runs from its first to its last cell, and what is committed shows its pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "sample_data" / "first_steps.ipynb"


def pictures(notebook: Any) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What runs cells behind a notebook's kernel, in this process: a real kernel would import everything again."""
    from IPython.core.history import HistoryManager
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.setattr(HistoryManager, "enabled", False)
    for name in ("displayhook", "excepthook", "last_traceback"):
        monkeypatch.setattr(sys, name, getattr(sys, name, None), raising=False)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    started = InteractiveShell.instance(ipython_dir=str(tmp_path / "ipython"))  # without the user's own settings
    started.display_formatter.active_types = started.display_formatter.format_types  # pictures, as a browser takes them
    yield started
    InteractiveShell.clear_instance()


def test_it_runs_with_small_settings(shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat

    monkeypatch.setenv("QUICK", "1")
    monkeypatch.setenv("GTI_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.chdir(ROOT)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    drawn = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            done = shell.run_cell(cell.source)
            done.raise_error()
            shown, _ = shell.display_formatter.format(done.result)
            drawn += "image/png" in shown
    assert drawn == pictures(notebook) == 3
    assert (tmp_path / "workspace" / "from-texts" / "model.safetensors").exists()


def test_what_is_committed_was_run_in_order() -> None:
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    texts = [str(output) for cell in code for output in cell.outputs]
    assert not any("Traceback" in text or "/tmp/" in text for text in texts)
