"""The options of evaluation, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gti_cli.errors import InputError
from gti_cli.options import RunKeywords, option
from gti_cli.tables.equal_times import InteractionKeywords

KS = (5, 10, 20, 50, 100)
SEARCHES = ("beam", "exact")
SPLITS = ("test", "valid")
BASELINES = ("popularity", "item-knn", "content-knn", "sasrec")


def main_cutoff(cutoffs: Sequence[int]) -> int:
    """The cut-off that stands for all: 10 where it was evaluated, else the one nearest to it."""
    return min(cutoffs, key=lambda k: abs(k - 10))


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `gti evaluate`, as fields with defaults and help lines.

    Attributes:
        split: Part of the data that is evaluated, one of `SPLITS`.
        k: Cut-offs of the metrics.
        search: ``beam``, or ``exact``: the provably best items, and a count of those that the beam missed.
        beams: Hypotheses kept for each user, besides room for seen items; at least the largest cut-off. None: as many
            as the largest cut-off, and at least 20.
        filter_seen: Do not recommend items of the user's own history. The beam is wider by the items a user has seen.
        history: Most items that a prompt shows. None: as in fine-tuning.
        batch_size: Prompts in a batch. It changes speed, not results.
        sample: Number of users or queries to evaluate, drawn with the seed. None: all of them.
        hold_out_items: Evaluate on users whose target is an item that `gti finetune --hold-out-items` held out. The
            split is that of the checkpoint.
        baselines: Some of `BASELINES`; ``sasrec`` is trained, ``content-knn`` needs the workspace's embeddings. Queries
            always have ``popularity`` and ``bm25``.
    """

    split: str = option("test", "test or valid.")
    k: tuple[int, ...] = option(KS, "Cut-offs of the metrics.")
    search: str = option("beam", "beam, or exact: the provably best items, and what the beam misses.")
    beams: int | None = option(
        None,
        "Hypotheses kept, besides room for seen items; at least the largest cut-off.",
        shown="the largest cut-off, 20 or more",
    )
    filter_seen: bool = option(False, "Do not recommend items of the user's own history.")
    history: int | None = option(None, "Most items that a prompt shows.", shown="as in fine-tuning")
    batch_size: int = option(32, "Prompts in a batch; changes speed, not results.")
    sample: int | None = option(
        None, "Evaluate this many users or queries, drawn with --seed; intervals are wider then.", shown="all"
    )
    hold_out_items: bool = option(
        False, "Measure cold starts: targets are the items that finetune --hold-out-items held out."
    )
    baselines: tuple[str, ...] = option(
        ("popularity", "item-knn", "content-knn"),
        "popularity, item-knn (tuned and untuned), content-knn (tuned), sasrec (trained and tuned).",
    )

    @property
    def ks(self) -> list[int]:
        """The cut-offs in ascending order, each once."""
        return sorted(set(self.k))

    def check(self) -> None:
        """Check all values.

        Raises:
            InputError: When a value is unknown or out of range.
        """
        for name, choices in (("search", SEARCHES), ("split", SPLITS)):
            if getattr(self, name) not in choices:
                raise InputError(f"--{name} {getattr(self, name)!r} is not known", remedy=f"use {' or '.join(choices)}")
        unknown = [name for name in self.baselines if name not in BASELINES]
        if unknown:
            raise InputError(f"--baselines {unknown[0]!r} is not known", remedy=f"use some of {','.join(BASELINES)}")
        if not self.k or min(self.k) < 1:
            raise InputError("the cut-offs of --k must be positive", remedy="write for example --k 5,10,20")
        if self.sample is not None and self.sample < 1:
            raise InputError(
                f"--sample {self.sample} leaves nobody to evaluate", remedy="use 1 or more, or leave it out for all"
            )
        if self.batch_size < 1:
            raise InputError(f"--batch-size is {self.batch_size}", remedy="use 1 or more")
        if self.history is not None and self.history < 1:
            raise InputError(f"--history {self.history} shows no item", remedy="use 1 or more")
        if self.beams is not None and self.beams < max(self.k):
            raise InputError(
                f"--beams {self.beams} is fewer than the {max(self.k)} that Recall@{max(self.k)} needs",
                remedy=f"use --beams {max(self.k)} or more, or a smaller --k",
            )


class EvaluateKeywords(InteractionKeywords, RunKeywords, total=False):
    """`EvaluateOptions`, `InteractionOptions` and `gti_cli.options.RunOptions` as keywords."""

    split: str
    k: Sequence[int]
    search: str
    beams: int | None
    filter_seen: bool
    history: int | None
    batch_size: int
    sample: int | None
    hold_out_items: bool
    baselines: Sequence[str]
