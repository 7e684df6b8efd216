"""The options of `gti extend`, without heavy imports, so that ``--help`` is fast."""

from __future__ import annotations

from dataclasses import dataclass

from gti_cli.errors import InputError
from gti_cli.options import RunKeywords, option

QUIET = 0.7  # default distance; the reason is in `gti_cli.vocabulary.initializers.placement.Placement`


@dataclass(frozen=True)
class StartOptions:
    """How new rows start.

    Attributes:
        init: One of `gti_cli.vocabulary.new_rows.INITIALIZERS` (None: the choice of
            `gti_cli.vocabulary.new_rows.default_initializer`).
        distance: For rows from texts or codebooks, the distance from the mean of the pretrained rows, in units of the
            root mean square distance of the pretrained rows. With a larger distance new rows differ more from each
            other, but take more probability from old tokens.
        measure_effect: Whether to load the extended model and measure the probability that the new tokens take on
            ordinary text. Without this measurement no model is loaded, and memory holds a few thousand rows at most.
    """

    init: str | None = option(
        None,
        "How the new rows start (see above).",
        shown="text-lstsq for items with texts, text for described tokens, else mean",
    )
    distance: float = option(
        QUIET,
        "For text and codebook starts: distance from the mean row, 1 = as pretrained rows. A smaller one takes less "
        "probability from old tokens.",
    )
    measure_effect: bool = option(
        True,
        "Do not measure how much probability the new tokens take on ordinary text; then no model is loaded.",
        flag="--no-effect",
    )

    def check(self) -> None:
        """Refuse a distance that is not a positive number; `extend` checks ``init``, whose choices import torch.

        Raises:
            InputError: When the distance is not positive and finite.
        """
        if not 0 < self.distance < float("inf"):
            raise InputError(
                f"--distance {self.distance} is not a positive number", remedy=f"leave it out ({QUIET}), or write 1"
            )


class ExtendKeywords(RunKeywords, total=False):
    """`StartOptions` and `gti_cli.options.RunOptions` as keywords."""

    init: str | None
    distance: float
    measure_effect: bool
