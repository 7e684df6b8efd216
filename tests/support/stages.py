"""A stage for the tests of the workspace."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import Manifest


def run_stage(root: Path, text: str = "one", *, name: str = "thing", **options: Any) -> tuple[bool, Manifest]:
    """A stage that writes a file; returns whether it had been done before, and the manifest."""
    space = Workspace(root)
    arguments = {"options": {"text": text}, "seed": 0, **options}
    with space.stage("make-thing", name, [f"{name}.txt"], **arguments) as run:
        if not run.done:
            run.path(f"{name}.txt").write_text(text)
            run.counts["letters"] = len(text)
            run.measured["letters_per_second"] = time.perf_counter()
    return run.done, run.result()
