from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.exporting.transformers_script import transformers_script


@pytest.mark.parametrize("without_prior", [False, True])
def test_the_script_names_its_two_files(without_prior: bool) -> None:
    """That it gives the lists of `gti recommend` is tested in `tests/commands/test_export.py`."""
    script = transformers_script("ws/o'neill", Path("a b.json"), without_prior=without_prior)
    compile(script, "script.py", "exec")
    assert "folder, catalog = \"ws/o'neill\", 'a b.json'\n" in script
    assert script.startswith("# This checkpoint was trained with a behaviour prior") == without_prior
