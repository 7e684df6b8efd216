"""A disk that is full, and files that may not be touched, by the operating system itself (Linux, as root)."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.faults import cases, child, shop
from tests.support.faults.road import Road
from tests.support.faults.shop import Step

PAGE = 4096


def can_mount(folder: Path) -> bool:
    """Whether a file system in memory can be mounted here."""
    try:
        with small_disk(folder, PAGE * 4):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of ``size`` bytes at ``folder``, inside the block."""
    folder.mkdir(exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={size}", "gti-test"]
    subprocess.run(["mount", *options, str(folder)], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


def resize(disk: Path, size: int) -> None:
    """Give a small disk another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True, capture_output=True)


def with_free_pages(road: Road, step: Step, pages: int) -> tuple[int, list[str]]:
    """Run a step on a disk with so many free pages, then again on one with room.

    Returns:
        The exit code of the first run, and what is wrong afterwards.
    """
    disk = road.folder / f"disk-{step.name}"
    with small_disk(disk, 1 << 30):
        case = shop.copy(road.start_of(step), disk / "shop")
        (disk / "shop.tmp").mkdir()
        used = os.statvfs(disk)
        resize(disk, (used.f_blocks - used.f_bfree + pages) * PAGE)
        outcome = child.run(step.words, case, logs=road.folder)
        resize(disk, 1 << 30)
        faults = []
        if outcome.code == 2:
            faults = cases.one_error_line(outcome)
            if "disk is full" not in outcome.err:
                faults.append(f"it does not say that the disk is full: {outcome.err}")
        elif outcome.code != 0:
            faults.append(f"exit code {outcome.code}: {outcome.err[-1500:]}")
        faults += cases.untouched(road, step, case, tidy=True)
        faults += cases.rerun(road, step, case)
    return outcome.code, faults


def without_privileges() -> None:
    """Take from this process what lets root pass over the permissions of files."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def forbid(road: Road, step: Step, name: str, mode: int) -> list[str]:
    """Run a step while a file or folder has another mode, then again with its own."""
    case = road.case(step)
    path = case / name
    own = path.stat().st_mode
    path.chmod(mode)
    outcome = child.run(step.words, case, before=without_privileges)
    path.chmod(own)
    return cases.after_refusal(road, step, case, outcome)
