"""The notebook runs from its first to its last cell, and what is committed shows its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "sample_data" / "first_steps.ipynb"


def pictures(notebook: Any) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_it_runs_with_small_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("QUICK", "1")
    monkeypatch.setenv("GTI_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # without the user's own settings
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    expected = pictures(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    assert pictures(notebook) == expected == 3
    assert (tmp_path / "workspace" / "from-texts" / "model.safetensors").exists()


def test_what_is_committed_was_run_in_order() -> None:
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    texts = [str(output) for cell in code for output in cell.outputs]
    assert not any("Traceback" in text or "/tmp/" in text for text in texts)
