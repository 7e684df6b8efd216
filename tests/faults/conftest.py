"""The undisturbed run of a few commands, made once for all test workers."""

from __future__ import annotations

import pickle

import pytest
from filelock import FileLock

from tests.support.faults.road import Road, preload, walk

STEPS = ("import", "build-ids", "extend", "finetune", "export-recommender", "replace")


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Road:
    """Six commands on the tiny shop, undisturbed."""
    preload()
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "faults"
    stored = folder.with_suffix(".pickle")
    with FileLock(folder.with_suffix(".lock")):
        if not stored.is_file():
            folder.mkdir()
            stored.write_bytes(pickle.dumps(walk(folder, STEPS)))
        made: Road = pickle.loads(stored.read_bytes())
    return made
