"""Errors of the machine that the user can correct, in words: a full disk, no permission, a process that has ended."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from gti_cli.errors import InputError, first_line

# The problem, and what to do.
_WORDS = {
    errno.EACCES: ("no permission", "change the permissions, or use another place"),
    errno.EPERM: ("no permission", "change the permissions, or use another place"),
    errno.EROFS: ("the file system is read-only", "write to another place"),
    errno.ENOSPC: ("the disk is full", "make room, then run the same command again"),
    errno.EDQUOT: ("the disk quota is used up", "make room, then run the same command again"),
    errno.EFBIG: ("the file is larger than the system allows", "raise the limit ('ulimit -f'), or write elsewhere"),
    errno.EISDIR: ("this is a folder, not a file", "move it away, or give the name of a file"),
    errno.EMFILE: ("too many open files", "raise the limit ('ulimit -n'), then run the same command again"),
}
# How libraries that raise errors of their own write the number: safetensors (Rust), pyarrow (C++).
_NUMBER = re.compile(r"\(os error (\d+)\)|\[[Ee]rrno (\d+)\]")
# torch.save does not say why it could not write.
_TORCH_SAVE = re.compile(r"PytorchStreamWriter|inline_container\.cc:\d+\] \. unexpected pos|iostream error")
# What gloo, NCCL and torch's store say when they cannot reach another process any more.
_LOST = re.compile(
    r"Dist(Backend|Network|Store)Error|gloo/|NCCL|[Cc]onnection (was )?(closed|reset|refused)|Broken pipe"
)


def explain(error: BaseException) -> InputError | None:
    """Return an error of the operating system in words; None for any other error.

    Args:
        error: The error as Python or a library raised it.
    """
    text = str(error)
    if isinstance(error, OSError) and error.errno is not None:
        number = error.errno
    elif match := _NUMBER.search(text):
        number = int(match[1] or match[2])
    elif _TORCH_SAVE.search(text):
        problem = f"a file could not be written, most likely because the disk is full ({first_line(error)})"
        return InputError(problem, remedy=_WORDS[errno.ENOSPC][1])
    else:
        return None
    if number not in _WORDS:
        return None
    problem, remedy = _WORDS[number]
    # Libraries set no file name on their errors; where there is one, it stands in the message, which is then quoted.
    name = getattr(error, "filename", None)
    if name is None:
        return InputError(f"{problem} ({text})", remedy=remedy)
    return InputError(problem, where=_final_name(name), remedy=remedy)


def explain_lost_process(error: BaseException) -> InputError | None:
    """Return in words that another process of the launch has ended; None for any other error.

    Args:
        error: The error that torch raised in a process that talked to it.
    """
    if not _LOST.search(f"{type(error).__name__}: {error}"):
        return None
    problem = f"another process of this launch has ended ({first_line(error)})"
    return InputError(problem, remedy="see what it printed, then run the same command again: it resumes")


def _final_name(name: object) -> str:
    """Return the name that a file has once it is complete; while it is written it is called ``.NAME.part``."""
    path = Path(name.decode(errors="replace") if isinstance(name, bytes) else str(name))
    temporary = path.name.startswith(".") and path.suffix == ".part"
    return str(path.with_name(path.name[1 : -len(".part")]) if temporary else path)
