"""`make audit`: bandit reads our code, pip-audit looks the pinned packages up among known vulnerabilities.

Fails where bandit finds something that no comment explains, or where a pinned package has a known vulnerability.
Without a network, or where the package index keeps no such records, it says that nothing was looked up, and does not
fail.

Both tools are modules that this Python can import.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_FIRST_SECONDS = 20  # for one package, so that an index which does not answer holds up nobody
_SECONDS = 120  # for all packages, where the first one was answered
_FIRST = "numpy=="  # every index that keeps records of vulnerabilities has some of numpy
_CODE = ["gti_cli"]  # random numbers of sample_data hide nothing, as pyproject.toml says to ruff
_PACKAGES = Path(".ci/constraints.txt")


def main() -> int:
    """Run both, at the same time, since one of them waits and the other computes; return the exit code."""
    with ThreadPoolExecutor(1) as pool:
        packages = pool.submit(_audit_packages)
        bandit = [sys.executable, "-m", "bandit", "-q", "-c", "pyproject.toml", "-r", *_CODE]
        code = subprocess.run(bandit, check=False).returncode
        return code or packages.result()


def _audit_packages() -> int:
    """Ask the index about one package, and about all of them if it keeps records of that one; return the exit code."""
    with TemporaryDirectory() as folder:
        one = Path(folder) / "one.txt"
        one.write_text("".join(line for line in _PACKAGES.open() if line.startswith(_FIRST)))
        answer = _looked_up(one, _FIRST_SECONDS)
    if answer and "skip_reason" in answer[0]:
        print("audit: no known vulnerabilities were looked up: the index keeps no records of them")
        return 0
    return _report(_looked_up(_PACKAGES, _SECONDS)) if answer else 0


def _report(packages: list[dict[str, Any]]) -> int:
    """Print what the index knows of each package; return the exit code."""
    if not packages:
        return 0
    asked = [package for package in packages if "skip_reason" not in package]
    found = [package for package in asked if package["vulns"]]
    for package in found:
        for entry in package["vulns"]:
            fixed = ", ".join(entry["fix_versions"]) or "no release yet"
            print(f"audit: {package['name']} {package['version']}: {entry['id']}, fixed in {fixed}")
    absent = len(packages) - len(asked)
    unknown = f"; the index has no records of {absent} others" if absent else ""
    print(f"audit: {len(found)} of {len(asked)} packages have a known vulnerability{unknown}")
    return int(bool(found))


def _looked_up(packages: Path, seconds: int) -> list[dict[str, Any]]:
    """Return pip-audit's entry for each package of a file of requirements; none if it fails, which is printed."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(packages), "--no-deps", "--disable-pip"]
    command += ["--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds)
        return list(json.loads(done.stdout)["dependencies"])
    except subprocess.TimeoutExpired:
        why = f"the index did not answer within {seconds} s"
    except (ValueError, KeyError):
        said = done.stderr.strip().splitlines()
        why = f"pip-audit says: {said[-1][:200]}" if said else "pip-audit says nothing"
    print(f"audit: no known vulnerabilities were looked up: {why}")
    return []


if __name__ == "__main__":
    sys.exit(main())
