"""A Python script that recommends with plain transformers, for those who have no serving engine."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

_WITHOUT_PRIOR = (
    "# This checkpoint was trained with a behaviour prior (gti_prior/), which plain `generate` leaves out: these\n"
    "# lists differ from those of `gti recommend`, and are as a rule worse."
)


def transformers_script(checkpoint: str, catalog: Path, *, without_prior: bool = False) -> str:
    """Write a script that recommends with plain transformers, from a checkpoint and the file of tuples alone.

    It reads the question from the checkpoint's ``gti_prompt.json``.

    Args:
        checkpoint: Folder of the checkpoint.
        catalog: The file of `gti_cli.exporting.flashrec.write_catalog`.
        without_prior: The checkpoint was trained with a behaviour prior, which the script does not have: it says so.
    """
    script = files("gti_cli.exporting").joinpath("templates/recommend_with_transformers.py.txt").read_text("utf-8")
    script = script.replace("CHECKPOINT, CATALOG", f"{checkpoint!r}, {str(catalog)!r}", 1)
    return f"{_WITHOUT_PRIOR}\n{script}" if without_prior else script
