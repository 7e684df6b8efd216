"""The options of extending; imports nothing heavy, so that a command can show them."""

from __future__ import annotations

from dataclasses import dataclass

from gti_cli.errors import InputError
from gti_cli.options import RunKeywords, option

QUIET = 0.7  # see `gti_cli.vocabulary.meaning.Placement`


@dataclass(frozen=True)
class StartOptions:
    """How new rows start.

    Attributes:
        init: one of `gti_cli.vocabulary.start.STARTS` (None: what `gti_cli.vocabulary.start.default_start` says).
        distance: of rows that start from text or codebooks, from the mean of the pretrained rows, in units of those
            rows' usual distance. Larger is more distinct, and louder among the old words.
        measure_effect: load the extended model and measure what the new rows take from ordinary text. Without it no
            model is ever loaded: memory is that of a few thousand rows.
    """

    init: str | None = option(
        None,
        "How the new rows start (see above).",
        shown="text-lstsq for items with texts, text for described tokens, else mean",
    )
    distance: float = option(
        QUIET,
        "With text and codebook starts: distance from the mean row, 1 = as pretrained rows; less is quieter.",
    )
    measure_effect: bool = option(
        True, "Do not measure what the new rows take from ordinary text; then no model is loaded.", flag="--no-effect"
    )

    def check(self) -> None:
        """Raise `InputError` for a value that cannot be meant; ``init`` is for whoever knows the starts."""
        if not 0 < self.distance < float("inf"):
            raise InputError(
                f"--distance {self.distance} is no positive number", remedy=f"leave it out ({QUIET}), or write 1"
            )


class ExtendKeywords(RunKeywords, total=False):
    """`StartOptions` and `gti_cli.options.RunOptions` as keywords."""

    init: str | None
    distance: float
    measure_effect: bool
