"""Fuzz the readers of files with atheris (``pip install atheris``), which follows the branches that are run.

    python tests/faults/fuzz_readers.py ENDING [-runs=20000] [further options of libFuzzer]

ENDING is one of `tests.support.bad_input.readers.READERS`, such as csv, json or safetensors. An exception that is no
`InputError` ends the run, and libFuzzer writes the bytes that led to it beside it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found]

sys.path.insert(0, str(Path(__file__).parents[2]))
with atheris.instrument_imports(include=["gti_cli"]):
    from tests.support.bad_input.readers import read_all, seeds


def main() -> None:
    """Fuzz the readers of one ending."""
    ending = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, content in enumerate(seeds()[ending]):
            (corpus / str(number)).write_bytes(content)
        atheris.Setup([*sys.argv, str(corpus)], lambda content: read_all(ending, content, Path(folder)))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
