"""Who may ask: API keys, and the host names under which a server without keys answers."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from gti_cli.errors import InputError

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_SHORTEST = 16


def read_keys(path: Path) -> list[str]:
    """Read a file of keys, one on each line. Empty lines and lines that begin with ``#`` are left out.

    Args:
        path: The file.

    Raises:
        InputError: When the file cannot be read or has no key, or a key is too short or cannot stand in a header.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("cannot read the keys", where=str(path), remedy="give a text file of keys") from error
    keys = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        # The key itself is a secret, so the message names its line alone.
        if not line.isascii() or not line.isprintable() or " " in line:
            raise InputError(
                "a key has letters that a header cannot carry",
                where=f"{path}, line {number}",
                remedy="use ASCII letters and digits, without spaces",
            )
        if len(line) < _SHORTEST:
            raise InputError(
                f"a key is shorter than {_SHORTEST} letters, and can be guessed",
                where=f"{path}, line {number}",
                remedy="make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
        keys.append(line)
    if not keys:
        raise InputError("there is no key in the file", where=str(path), remedy="write one key on each line")
    return keys


class KeyCheck:
    """A dependency of routes: refuses requests without a valid key.

    Args:
        keys: The valid keys.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def __call__(
        self,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))] = None,
        header: Annotated[str | None, Depends(APIKeyHeader(name="X-API-Key", auto_error=False))] = None,
    ) -> None:
        """Check the key of a request.

        Args:
            bearer: The header ``Authorization``.
            header: The header ``X-API-Key``.

        Raises:
            HTTPException: 401, when there is no valid key.
        """
        given = (bearer.credentials if bearer is not None else header or "").encode("utf-8", "surrogateescape")
        # Every key is compared, in constant time, so that the time of the answer tells nothing.
        matches = [hmac.compare_digest(given, key) for key in self._keys]
        if not any(matches):
            raise HTTPException(
                401,
                "No valid key. Send one as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'.",
                headers={"WWW-Authenticate": "Bearer"},
            )
