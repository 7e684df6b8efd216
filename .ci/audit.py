"""`make audit`: bandit reads our code, pip-audit looks the pinned packages up among known vulnerabilities.

Fails where bandit finds something that no comment explains, or where a pinned package has a known vulnerability. Without
a network, or where the package index keeps no such records, it says that nothing was looked up, and does not fail.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_SECONDS = 240  # a slow index must not hold up CI
_CODE = ["gti_cli"]  # random numbers of sample_data hide nothing, as pyproject.toml says to ruff
_PACKAGES = ".ci/constraints.txt"


def main() -> int:
    """Run both; return the exit code."""
    tools = Path(sys.executable).parent
    code = subprocess.run([tools / "bandit", "-q", "-c", "pyproject.toml", "-r", *_CODE], check=False).returncode
    return code or _audit_packages(tools / "pip-audit")


def _audit_packages(tool: Path) -> int:
    command = [tool, "-r", _PACKAGES, "--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_SECONDS)
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        print(f"audit: no known vulnerabilities were looked up: the index did not answer within {_SECONDS} s")
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


if __name__ == "__main__":
    sys.exit(main())
