"""Files on web servers, through Python's own client; fsspec's would need further packages."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

_SECONDS = 60  # to wait for an answer
_NO_SUCH_FILE = (404, 410)


class WebServer:
    """A web server, with the methods of fsspec's file systems that are needed to copy a file."""

    def info(self, url: str) -> dict[str, Any]:
        """Return what the server says of a file without sending it: its ``ETag``, ``Last-Modified`` and ``size``.

        Raises:
            FileNotFoundError: When there is no such file.
            OSError: When the server does not answer.
        """
        try:
            with closing(_open(url, "HEAD")) as answer:
                size = answer.headers.get("Content-Length")
                named = {key: answer.headers[key] for key in ("ETag", "Last-Modified") if answer.headers[key]}
                return {**named, "size": int(size) if size else None}
        except HTTPError:
            return {}  # many signed addresses serve nothing but the file itself

    def get_file(self, url: str, target: str) -> None:
        """Fetch a file.

        Args:
            url: The file.
            target: Where to write it.

        Raises:
            FileNotFoundError: When there is no such file.
            OSError: When the server does not answer, or sends a part of the file only.
        """
        with closing(_open(url, "GET")) as answer, Path(target).open("wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
            size, announced = file.tell(), answer.headers.get("Content-Length")
        if announced and size != int(announced):
            raise OSError(f"the connection broke after {size:,} of {int(announced):,} bytes")


def _open(url: str, method: str) -> Any:
    request = Request(url, method=method, headers={"User-Agent": "gti"})  # noqa: S310 - http or https, as the caller saw
    try:
        return urlopen(request, timeout=_SECONDS)  # noqa: S310 # nosec B310 - as above
    except HTTPError as error:
        if error.code in _NO_SUCH_FILE:
            raise FileNotFoundError(url) from error
        raise
    except URLError as error:
        raise OSError(f"the server does not answer ({error.reason})") from error
