"""Run the command line: as ``gti``, and as ``python -m gti_cli`` (for ``torchrun -m gti_cli ground`` and the like)."""

import sys


def main() -> None:
    """Run the command line of this process; Ctrl-C while it is imported ends it as it does later."""
    try:
        from gti_cli import app
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; run the same command again to continue\n")
        sys.exit(130)
    app.main()


if __name__ == "__main__":
    main()
