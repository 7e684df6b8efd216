"""Where the packages of the extra ``serve`` are not installed, the tests of the server are left out."""

from __future__ import annotations

from importlib.util import find_spec

is_installed = all(find_spec(package) for package in ("fastapi", "prometheus_client", "uvicorn"))
collect_ignore_glob = [] if is_installed else ["*.py", "page/*.py"]
