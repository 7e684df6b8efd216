"""Run the fault tests for long: ``python -m tests.faults --help``."""

from __future__ import annotations

import sys

from tests.support.faults.long_run import main

if __name__ == "__main__":
    sys.exit(main())
