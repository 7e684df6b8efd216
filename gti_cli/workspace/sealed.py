"""The model card of a checkpoint, ``README.md``: a text that tells whether somebody edited it since `gti` wrote it.

Its last line, the seal, is a comment with the SHA-256 of the text before it. A sealed card does not count where a
folder is digested, since it may be refreshed or edited after the checkpoint was written.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

CARD = "README.md"
_MARK = "<!-- Written by gti:"
_SEAL = re.compile(re.escape(_MARK) + r" [^\n]*state ([0-9a-f]+), text ([0-9a-f]{64}) -->\s*\Z")


@dataclass(frozen=True)
class Seal:
    """What the seal of a text says.

    Attributes:
        state: Digest of what the text was made from.
        intact: Whether the text is as it was written.
    """

    state: str
    intact: bool


def seal(text: str, state: str) -> str:
    """Add the seal to a text.

    Args:
        text: The text.
        state: Hexadecimal digest of what the text was made from.
    """
    body = text.rstrip("\n") + "\n\n"
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f"{body}{_MARK} it is kept up to date until somebody edits it. state {state}, text {digest} -->\n"


def read_seal(text: str) -> Seal | None:
    """Return what the seal of a text says; None for a text without one."""
    text = text.replace("\r\n", "\n")  # some editors and version control systems change the ends of lines
    match = _SEAL.search(text)
    if match is None:
        return Seal("", False) if _MARK in text else None
    return Seal(match[1], hashlib.sha256(text[: match.start()].encode()).hexdigest() == match[2])


def is_sealed_card(path: Path) -> bool:
    """Return whether a file is a model card of `gti`, edited or not."""
    return path.name == CARD and _MARK.encode() in path.read_bytes()
