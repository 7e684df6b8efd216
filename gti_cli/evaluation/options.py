"""The options of evaluation, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gti_cli.errors import InputError
from gti_cli.options import RunKeywords, option

KS = (5, 10, 20, 50, 100)
SEARCHES = ("beam", "exact")
SPLITS = ("test", "valid")
BASELINES = ("popularity", "item-knn", "sasrec")


@dataclass(frozen=True)
class EvaluateOptions:
    """What is evaluated, and how.

    Attributes:
        split: one of `SPLITS`. k: cut-offs of the metrics.
        search: ``beam``, or ``exact``: provably the most probable items, and how often the beam missed one.
        beams: hypotheses kept, at least the largest cut-off (None: as many as that, 20 or more), beside room for seen
            items.
        filter_seen: do not recommend items of the user's own history; the beam is wider by what the user has seen.
        history: most items shown (None: as in fine-tuning). batch_size: changes speed, not results.
        sample: users or queries to draw by the seed and ask (None: all of them).
        baselines: some of `BASELINES`; `sasrec` trains. For queries they are always `popularity`
            and `bm25`.
    """

    split: str = option("test", "test or valid.")
    k: tuple[int, ...] = option(KS, "Cut-offs of the metrics.")
    search: str = option("beam", "beam, or exact: provably the best, and what the beam misses.")
    beams: int | None = option(
        None,
        "Hypotheses kept, beside room for seen items; at least the largest cut-off.",
        shown="the largest cut-off, 20 or more",
    )
    filter_seen: bool = option(False, "Do not recommend items of the user's own history.")
    history: int | None = option(None, "Most items shown.", shown="as in fine-tuning")
    batch_size: int = option(32, "Prompts in a batch; for speed only.")
    sample: int | None = option(
        None, "Ask so many users, or queries, drawn by --seed; intervals say what that leaves open.", shown="all"
    )
    baselines: tuple[str, ...] = option(
        ("popularity", "item-knn"), "popularity, item-knn (tuned, and untuned beside it), sasrec (trains; tuned)."
    )

    @property
    def ks(self) -> list[int]:
        """The cut-offs, ascending."""
        return sorted(set(self.k))

    def check(self) -> None:
        """Raise `InputError` for a value that cannot be meant."""
        for name, known in (("search", SEARCHES), ("split", SPLITS)):
            if getattr(self, name) not in known:
                raise InputError(f"--{name} {getattr(self, name)!r} is not known", remedy=f"use {' or '.join(known)}")
        unknown = [name for name in self.baselines if name not in BASELINES]
        if unknown:
            raise InputError(f"--baselines {unknown[0]!r} is not known", remedy=f"use some of {','.join(BASELINES)}")
        if not self.k or min(self.k) < 1:
            raise InputError("the cut-offs of --k must be positive", remedy="write for example --k 5,10,20")
        if self.sample is not None and self.sample < 1:
            raise InputError(f"--sample {self.sample} asks nobody", remedy="use 1 or more, or leave it out to ask all")
        if self.batch_size < 1:
            raise InputError(f"--batch-size is {self.batch_size}", remedy="use 1 or more")
        if self.history is not None and self.history < 1:
            raise InputError(f"--history {self.history} shows nothing", remedy="use 1 or more")
        if self.beams is not None and self.beams < max(self.k):
            raise InputError(
                f"--beams {self.beams} is fewer than the {max(self.k)} that Recall@{max(self.k)} needs",
                remedy=f"use --beams {max(self.k)} or more, or a smaller --k",
            )


class EvaluateKeywords(RunKeywords, total=False):
    """`EvaluateOptions` and `gti_cli.options.RunOptions` as keywords."""

    split: str
    k: Sequence[int]
    search: str
    beams: int | None
    filter_seen: bool
    history: int | None
    batch_size: int
    sample: int | None
    baselines: Sequence[str]
