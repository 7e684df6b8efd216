"""The verdict on a set of new rows: a grade, the figures and thresholds that decided it, and advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COLLAPSED, CROWDED, SCATTERED, DISTINCT = "collapsed", "crowded", "scattered", "distinct"
STRUCTURED, PARTLY, GROUNDED = "structured", "partly grounded", "grounded"

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
        grade: `COLLAPSED`, `CROWDED`, `SCATTERED`, `DISTINCT`, `STRUCTURED`, `PARTLY` or `GROUNDED`.
        reason: The figures that decided it, with their thresholds.
        advice: What to do next.
    """

    grade: str
    reason: str
    advice: str


_ADVICE = {
    COLLAPSED: "give the rows a start that tells them apart or ground them ('gti ground'), and train them at a higher "
    "rate than the model",
    CROWDED: "ground the rows before fine-tuning ('gti ground'), or train them for longer or at a higher rate than the "
    "model",
    SCATTERED: "ground them on the items' texts ('gti ground') before fine-tuning",
    STRUCTURED: "ground them on the items' texts ('gti ground'): they tell the codes apart, but not in the terms of "
    "the language model",
    PARTLY: "ground them for longer, or at a higher rate",
    GROUNDED: "nothing",
}
# By whether RSA with codebooks could be computed.
_DISTINCT_ADVICE = {
    True: "ground them on the items' texts ('gti ground'), or for longer",
    False: "diagnose in the workspace that holds the codebooks, or pass --codebooks FILE",
}


def judge(figures: Mapping[str, Any]) -> Verdict:
    """Judge the figures of `measure.measure` and of the nearest words.

    The first grade that applies is given. Three questions decide it.

    - How many directions do the rows use? With the share (r - 1) / (p - 1), where r is the effective rank of the new
      rows and p that of the same number of pretrained rows: **collapsed** up to `COLLAPSED_UP_TO`, where the model
      cannot tell the tokens apart; **crowded** up to `CROWDED_UP_TO`.
    - Do they lie on the pretrained manifold? Yes, where the median cosine to the nearest pretrained row is at least the
      cosine that 95 % of pretrained rows have to their nearest pretrained row.
    - Do they follow the codebooks? Yes, where RSA r of some level, mean rows subtracted, is at least `LEAST_RSA` with p
      at most `MOST_P` over the number of levels; weakly, where p is that small but r is not that large.

    Of rows that are neither collapsed nor crowded: **grounded** rows lie on the manifold and follow the codebooks;
    **partly grounded** rows lie on it and follow them weakly; **structured** rows follow them off the manifold;
    **distinct** rows lie on the manifold and do not follow the codebooks, or there are no codebooks; **scattered** are
    all others.

    The RSA over all codes (the paper's) does not decide. Pairs of codes of different levels outweigh the pairs of one
    level there, and the rows of different levels come to differ in any training.

    Args:
        figures: The figures by name, None for those that are undefined.
    """
    rank, reference = figures["effective_rank"], figures["pretrained_effective_rank"]
    share = (rank - 1) / max(reference - 1, 1e-9)
    reasons = [
        f"effective rank {rank:,.1f} is {100 * max(share, 0):.0f} % of the way from one point (1) to as many "
        f"pretrained rows ({reference:,.1f}); up to {100 * COLLAPSED_UP_TO:.0f} % is collapsed, "
        f"up to {100 * CROWDED_UP_TO:.0f} % crowded"
    ]
    if share <= COLLAPSED_UP_TO:
        return Verdict(COLLAPSED, f"{reasons[0]}; mean cosine {figures['mean_cosine']:.2f}", _ADVICE[COLLAPSED])
    near, usual = figures["nearest_pretrained_cosine_q50"], figures["pretrained_nearest_cosine_q05"]
    on_manifold = near >= usual
    reasons.append(
        f"{'on' if on_manifold else 'off'} the pretrained manifold: the median cosine to the nearest pretrained row is "
        f"{near:.2f}, {'at least' if on_manifold else 'less than'} the {usual:.2f} that 95 % of pretrained rows reach"
    )
    strength, sentence = _judge_following(figures)
    reasons.append(sentence)
    if figures.get("word_agreement") is not None:
        reasons.append(
            f"{100 * figures['word_agreement']:.0f} % of their nearest words occur in the texts of their items, "
            f"{100 * figures['word_agreement_chance']:.0f} % by chance"
        )
    if share <= CROWDED_UP_TO:
        grade = CROWDED
    elif strength == _STRONG:
        grade = GROUNDED if on_manifold else STRUCTURED
    elif not on_manifold:
        grade = SCATTERED
    else:
        grade = PARTLY if strength == _WEAK else DISTINCT
    advice = _DISTINCT_ADVICE[strength != _UNKNOWN] if grade == DISTINCT else _ADVICE[grade]
    return Verdict(grade, "; ".join(reasons), advice)


# How strongly rows follow the codebooks; unknown: there are none, or the correlation is undefined.
_STRONG, _WEAK, _NONE, _UNKNOWN = range(4)


def _judge_following(figures: Mapping[str, Any]) -> tuple[int, str]:
    """How strongly the rows follow the codebooks, and the figures that show it."""
    tested = _correlations(figures)
    if not tested:
        return _UNKNOWN, "no codebooks to compare them with" if not figures.get("rsa_tokens") else "RSA undefined"
    most_p = MOST_P / len(tested)
    significant = [entry for entry in tested if entry[2] <= most_p and entry[1] > 0]
    needed = f"needs r of at least {LEAST_RSA} with p of at most {most_p:.2g}"
    scope, r, p = max(significant or tested, key=lambda entry: entry[1])
    among = f"the best of {len(tested)} levels, " if len(tested) > 1 else ""
    best = f"RSA r = {r:.2f} {scope} (p = {p:.3f}, {among}{needed})"
    if significant and r >= LEAST_RSA:
        return _STRONG, f"following the codebooks: {best}"
    if significant:
        return _WEAK, f"following the codebooks weakly: {best}"
    return _NONE, f"not following the codebooks: {best}"


def _correlations(figures: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """(scope, r, p) of each level, mean rows subtracted; of all codes where no level could be tested."""
    correlations = [
        (f"within level {level}", entry.get("centred_pearson"), entry.get("centred_p"))
        for level, entry in figures.get("rsa_levels", {}).items()
    ]
    if not correlations:
        correlations = [("over all codes", figures.get("rsa_pearson"), figures.get("rsa_p"))]
    return [(scope, r, p) for scope, r, p in correlations if r is not None and p is not None]
