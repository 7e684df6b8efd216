"""A full disk and missing permissions: one line that says what to do, nothing left behind, and the rerun is whole."""

from __future__ import annotations

import errno
import random

import pytest

from tests.support.faults import cases, disk
from tests.support.faults.road import Road


@pytest.mark.parametrize(
    ("name", "code"), [("import", errno.ENOSPC), ("extend", errno.ENOSPC), ("build-ids", errno.EACCES)]
)
def test_the_system_refuses_a_change_of_a_file(road: Road, name: str, code: int) -> None:
    step, rng = road.step(name), random.Random(f"{name} {code}")
    opened = [at for at, (event, _) in enumerate(road.changes[name]) if event in ("open", "os.mkdir")]
    for at in (opened[-1], *rng.sample(opened, 2)):
        assert cases.refuse(road, step, at, code) == [], (name, at, road.changes[name][at])


@pytest.mark.parametrize(("name", "pages"), [("extend", 20), ("export-recommender", 5)])
def test_a_disk_that_is_full(road: Road, name: str, pages: int) -> None:
    if not disk.can_mount(road.folder / "mounted"):
        pytest.skip("no file system can be mounted here (that needs root)")
    code, faults = disk.with_free_pages(road, road.step(name), pages)
    assert (code, faults) == (2, [])


@pytest.mark.parametrize(
    ("name", "path", "mode"),
    [("extend", "ws", 0o555), ("extend", "ws/semantic_ids.parquet", 0), ("export-recommender", ".", 0o555)],
)
def test_modes_that_forbid(road: Road, name: str, path: str, mode: int) -> None:
    assert disk.forbid(road, road.step(name), path, mode) == []
