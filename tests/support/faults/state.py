"""What a folder holds, in a form that two runs of the same work share."""

from __future__ import annotations

import json
import os
from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """Relative path -> bytes of every file; of a manifest without ``run`` (times, memory), which no two runs share.

    Empty folders count, too, as an entry whose name ends with a slash.
    """
    found: dict[str, bytes] = {}
    for path, folders, files in os.walk(folder):
        here = Path(path)
        if not folders and not files:
            found[f"{here.relative_to(folder).as_posix()}/"] = b""
        for name in files:
            file = here / name
            if file.is_symlink():
                found[file.relative_to(folder).as_posix()] = bytes(file.readlink())
            else:
                found[file.relative_to(folder).as_posix()] = _comparable(file)
    return found


def _comparable(file: Path) -> bytes:
    raw = file.read_bytes()
    if file.suffix != ".json":
        return raw
    try:
        payload = json.loads(raw)
    except ValueError:
        return raw
    if not (isinstance(payload, dict) and {"digest", "run", "outputs"} <= set(payload)):
        return raw
    return json.dumps({**payload, "run": None}, sort_keys=True).encode()


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Names of what differs between two folders, in words."""
    found = [f"{name}: missing" for name in sorted(set(one) - set(other))]
    found += [f"{name}: left over" for name in sorted(set(other) - set(one))]
    for name in sorted(set(one) & set(other)):
        if one[name] != other[name]:
            found.append(f"{name}: differs{_where(one[name], other[name]) if name.endswith('.json') else ''}")
    return found


def _where(one: bytes, other: bytes) -> str:
    """Keys of a JSON object whose values differ."""
    try:
        first, second = json.loads(one), json.loads(other)
        keys = [key for key in first if first[key] != second.get(key)] + [key for key in second if key not in first]
    except (ValueError, AttributeError, TypeError):
        return ""
    return " in " + ", ".join(f"{key} ({str(first.get(key))[:300]} -> {str(second.get(key))[:300]})" for key in keys)
