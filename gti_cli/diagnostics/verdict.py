"""The verdict on a set of new rows: a grade, the figures and thresholds that decided it, and advice.

A grade describes where the rows lie. It does not say how well a model recommends: in the measurement of this folder's
README, models with `ALIGNED` rows were among the best and below popularity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gti_cli.diagnostics.history import FINETUNE, GROUND, UNKNOWN, FoundAccuracy, History

COLLAPSED, CROWDED, SCATTERED, DISTINCT = "collapsed", "crowded", "scattered", "distinct"
STRUCTURED, WEAKLY_ALIGNED, ALIGNED, GROUNDED = "structured", "weakly aligned", "aligned", "grounded"

# What each grade says, in a sentence for somebody who sees it for the first time. Rows follow the codebooks where codes
# with similar codebook vectors have similar rows.
EXPLANATIONS = {
    COLLAPSED: "the rows are almost one point, so the model can hardly tell the tokens apart",
    CROWDED: "the rows have begun to separate, but use few directions for their number",
    SCATTERED: "the rows differ, lie away from the pretrained rows, and do not follow the codebooks",
    DISTINCT: "the rows differ and lie among the pretrained rows, but do not follow the codebooks",
    STRUCTURED: "the rows follow the codebooks in at least one level, but lie away from the pretrained rows",
    WEAKLY_ALIGNED: "the rows lie among the pretrained rows, and follow the codebooks weakly in at least one level",
    ALIGNED: "the rows lie among the pretrained rows, and follow the codebooks in at least one level",
    GROUNDED: "aligned, and a grounding ('gti ground') is part of how the rows were made",
}
VERSION = 2  # of the grades; a diagnosis with the grades of another version is made again
# What no grade says.
CAVEAT = (
    "Rows follow the codebooks where codes with similar codebook vectors have similar rows. A verdict describes where "
    "the rows lie, not how well the model recommends: 'gti evaluate' measures that."
)

# Thresholds of (r - 1) / (p - 1), where r is the effective rank of the new rows and p that of the same number of
# pretrained rows. The rank of a single point is 1, so a share of 0 means that all rows are one point.
# They were calibrated on synthetic rows: rows that spread about their mean like pretrained rows, but only t times as
# far, reach 5 % at t = 0.04 and 20 % at t = 0.1, with a mean 1.3 times the spread, as in small language models.
COLLAPSED_UP_TO = 0.05
CROWDED_UP_TO = 0.2
# Threshold of RSA r within a level, mean rows subtracted. On synthetic rows, of which 10 % of the variance is a linear
# image of the codebook and the rest is noise, r is 0.25 to 0.5 (widths 32 to 1,024). So 0.1 needs a few per cent of the
# variance. The permutation test tells whether r could arise by chance.
LEAST_RSA = 0.1
# One level suffices, so the threshold of p is divided by the number of levels that were tested (Bonferroni).
MOST_P = 0.01


@dataclass(frozen=True)
class Verdict:
    """The verdict on the new rows of one matrix.

    Attributes:
        grade: A key of `EXPLANATIONS`.
        reason: The figures that decided it, with their thresholds.
        advice: What to do next.
    """

    grade: str
    reason: str
    advice: str


@dataclass(frozen=True)
class DecidingRSA:
    """The correlation that decides whether rows follow the codebooks.

    Attributes:
        level: The level within which it was computed, mean rows subtracted. None: over all codes.
        r: Pearson correlation of the cosines.
        p: Its p-value by permutation.
        most_p: Largest p-value that counts as significant.
    """

    level: str | None
    r: float
    p: float
    most_p: float

    @property
    def significant(self) -> bool:
        """Whether a correlation as large does not arise by chance."""
        return self.p <= self.most_p and self.r > 0


def judge(figures: Mapping[str, Any], history: History = UNKNOWN) -> Verdict:
    """Judge the figures of `measure.measure` and of the nearest words.

    The first grade that applies is given. Three questions decide it.

    - How many directions do the rows use? With the share (r - 1) / (p - 1), where r is the effective rank of the new
      rows and p that of the same number of pretrained rows: **collapsed** up to `COLLAPSED_UP_TO`, where the model
      cannot tell the tokens apart; **crowded** up to `CROWDED_UP_TO`.
    - Do they lie on the pretrained manifold? Yes, where the median cosine to the nearest pretrained row is at least the
      cosine that 95 % of pretrained rows have to their nearest pretrained row.
    - Do they follow the codebooks? Yes, where RSA r of some level, mean rows subtracted, is at least `LEAST_RSA` with p
      at most `MOST_P` over the number of levels; weakly, where p is that small but r is not that large.

    Of rows that are neither collapsed nor crowded: **aligned** rows lie on the manifold and follow the codebooks;
    **weakly aligned** rows lie on it and follow them weakly; **structured** rows follow them off the manifold;
    **distinct** rows lie on the manifold and do not follow the codebooks, or there are no codebooks; **scattered** are
    all others. Aligned rows are **grounded** where the history of their checkpoint includes a grounding. The figures
    cannot tell that: a start that is made of the items' texts is aligned without any training.

    The RSA over all codes (the paper's) does not decide. Pairs of codes of different levels outweigh the pairs of one
    level there, and the rows of different levels come to differ in any training.

    Args:
        figures: The figures by name, None for those that are undefined.
        history: How the checkpoint came about, and what its evaluation found.
    """
    rank, reference = figures["effective_rank"], figures["pretrained_effective_rank"]
    share = max((rank - 1) / max(reference - 1, 1e-9), 0)
    near, usual = figures["nearest_pretrained_cosine_q50"], figures["pretrained_nearest_cosine_q05"]
    on_manifold = near >= usual
    rsa = deciding_rsa(figures)
    reasons = [
        f"effective rank {rank:,.1f}, {100 * share:.0f} % of the way from one point (1) to as many pretrained rows "
        f"({reference:,.1f}): up to {100 * COLLAPSED_UP_TO:.0f} % is collapsed, up to {100 * CROWDED_UP_TO:.0f} % "
        "crowded"
    ]
    if share <= COLLAPSED_UP_TO:
        grade = COLLAPSED
        reasons.append(f"mean cosine {figures['mean_cosine']:.2f}")
    else:
        reasons += [
            f"{'among' if on_manifold else 'away from'} the pretrained rows: median cosine {near:.2f} to the nearest "
            f"one ({usual:.2f} or more is usual)",
            _describe_following(rsa, figures),
        ]
        grade = CROWDED if share <= CROWDED_UP_TO else _grade_spread_rows(on_manifold, rsa)
        if grade == ALIGNED and history.has(GROUND):
            grade = GROUNDED
        if figures.get("word_agreement") is not None:
            own, chance = 100 * figures["word_agreement"], 100 * figures["word_agreement_chance"]
            reasons.append(f"{own:.0f} % of the nearest words occur in the items' texts ({chance:.0f} % by chance)")
    reasons += _describe_history(history)
    return Verdict(grade, "; ".join(reasons), _advise(grade, bool(figures.get("rsa_tokens")), history))


def _grade_spread_rows(on_manifold: bool, rsa: DecidingRSA | None) -> str:
    """The grade of rows that are neither collapsed nor crowded, by their figures alone."""
    follows = rsa is not None and rsa.significant
    if follows and rsa is not None and rsa.r >= LEAST_RSA:
        return ALIGNED if on_manifold else STRUCTURED
    if not on_manifold:
        return SCATTERED
    return WEAKLY_ALIGNED if follows else DISTINCT


def deciding_rsa(figures: Mapping[str, Any]) -> DecidingRSA | None:
    """The best correlation with the codebooks among the significant ones, else the best one.

    Of each level, mean rows subtracted; of all codes where no level could be tested. None where there are no codebooks,
    or where the correlation is undefined.
    """
    correlations: list[tuple[str | None, Any, Any]] = [
        (level, entry.get("centred_pearson"), entry.get("centred_p"))
        for level, entry in figures.get("rsa_levels", {}).items()
    ]
    if not correlations:
        correlations = [(None, figures.get("rsa_pearson"), figures.get("rsa_p"))]
    defined = [(level, r, p) for level, r, p in correlations if r is not None and p is not None]
    tested = [DecidingRSA(level, r, p, MOST_P / len(defined)) for level, r, p in defined]
    return max(tested, key=lambda rsa: (rsa.significant, rsa.r), default=None)


def rsa_figures(rsa: DecidingRSA | None) -> dict[str, Any]:
    """The deciding correlation as figures: JSON values by name, None where there is none."""
    names = ("level", "r", "p", "most_p")
    return {f"deciding_rsa_{name}": None if rsa is None else getattr(rsa, name) for name in names}


def _describe_following(rsa: DecidingRSA | None, figures: Mapping[str, Any]) -> str:
    """Whether the rows follow the codebooks, and the figures that show it."""
    if rsa is None:
        return "RSA with the codebooks is undefined" if figures.get("rsa_tokens") else "no codebooks to compare with"
    strength = "not following"
    if rsa.significant:
        strength = "following" if rsa.r >= LEAST_RSA else "weakly following"
    scope = "over all codes" if rsa.level is None else f"within level {rsa.level}"
    needed = f"needs {LEAST_RSA}, p up to {rsa.most_p:.2g}"
    return f"{strength} the codebooks: RSA {rsa.r:.2f} {scope}, p = {rsa.p:.3f} ({needed})"


def _describe_history(history: History) -> list[str]:
    """The stages of the history, where they are known."""
    if not history.commands:
        return []
    start = f" (--init {history.initializer})" if history.initializer else ""
    stages = ", then ".join(reversed(history.commands)).replace("extend", f"extend{start}", 1)
    never = ", never grounded" if history.has(GROUND) is False else ""
    return [f"made by {stages}{never}"]


_FASTER_ROWS = "for longer, or its rows at a higher rate ('gti finetune --rows-learning-rate')"
_FROM_TEXTS = "start the rows from the items' texts ('gti extend', its default)"


def _advise(grade: str, compared: bool, history: History) -> str:
    """What to do next. What an evaluation found counts for more than where the rows lie.

    Args:
        grade: The grade.
        compared: Whether there are codebooks that the rows were compared with.
        history: How the checkpoint came about, and what its evaluation found.
    """
    if history.accuracy is not None and history.accuracy.popularity is not None:
        return _advise_by_accuracy(grade, history.accuracy, history.accuracy.popularity)
    other_start = f"{_FROM_TEXTS} or ground them {'for longer ' if history.has(GROUND) else ''}('gti ground')"
    narrow, tuned = grade in (COLLAPSED, CROWDED), history.has(FINETUNE)
    measure = f"measure how well it recommends ('gti evaluate {history.name}')"
    if tuned or tuned is None:
        if narrow:
            return f"train it {_FASTER_ROWS}, or {other_start}; then {measure}"
        if not compared and not history.commands:
            return "diagnose it in the workspace that holds the codebooks, or pass --codebooks FILE"
        return measure
    fine_tune = f"fine-tune from it ('gti finetune --from {history.name}')"
    if narrow:
        return f"{other_start}; or {fine_tune}, its rows at a rate of their own, which is the default"
    if grade in (ALIGNED, GROUNDED):
        return fine_tune
    return f"{fine_tune}; for a short training, first {other_start}"


def _advise_by_accuracy(grade: str, accuracy: FoundAccuracy, popularity: float) -> str:
    """What to do with a checkpoint that was evaluated beside the most popular items."""
    own = f"{accuracy.metric.capitalize()} {accuracy.value:.4f}"
    beside = f"popularity's {popularity:.4f} ({accuracy.artifact})"
    if accuracy.value < popularity:
        longer = _FASTER_ROWS if grade in (COLLAPSED, CROWDED) else "for longer"
        return f"train it {longer}: {own} is below {beside}"
    if accuracy.interval is not None and accuracy.interval[0] <= popularity:
        return f"train it for longer, or evaluate more users: {own} cannot be told from {beside}"
    if grade in (COLLAPSED, CROWDED):
        return f"perhaps train it {_FASTER_ROWS}: {own} is above {beside}, but the rows are {grade}"
    return f"nothing: {own} is above {beside}"
