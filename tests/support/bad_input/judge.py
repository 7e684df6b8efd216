"""The files that each case starts from, and what a command must do with wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.bad_input.case import Case
from tests.support.bad_input.tables import COLUMNS, jsonl
from tests.support.vocabulary import write_checkpoint


def make_shop(folder: Path, run: Callable[[list[str]], int]) -> None:
    """Write a workspace with semantic IDs and an extended model, and the base model, into a folder."""
    write_checkpoint(folder / "base", "qwen3")
    items = folder / "items.jsonl"
    items.write_bytes(jsonl(COLUMNS["items"]))
    space = ["-w", str(folder / "ws"), "--device", "cpu"]
    assert run(["build-ids", str(items), "--levels", "2", "--codes", "4", *space]) == 0
    assert run(["extend", "--model", str(folder / "base"), "--no-effect", *space]) == 0


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder, but for those that a workspace keeps for itself."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".gti" not in path.parts
    }


def fault_of(case: Case, code: int, shown: str, refusal: str, is_unchanged: bool) -> str | None:
    """Say what a command did wrong; None where it did what it should.

    Args:
        case: What was run.
        code: Its exit code.
        shown: All that it printed.
        refusal: What it printed on stderr, from ``error:`` on.
        is_unchanged: Whether all files are as before.
    """
    if code not in (0, 2) or "Traceback" in shown:
        return f"exit code {code}: {shown.strip()[-1500:]}"
    if odd := {"\x1b", "\x07", "\x00"} & set(shown):
        return f"prints {odd}"
    if code == 0:
        return None
    if len(refusal.rstrip("\n").splitlines()) != 1 or len(refusal) > 1500:
        return f"not one line: {refusal[:1500]}"
    if case.names not in refusal and "--" not in refusal:  # what is wrong may be an option that does not fit the file
        return f"does not name {case.names}: {refusal[:1500]}"
    return None if is_unchanged else f"has written something, although: {refusal[:1500]}"
