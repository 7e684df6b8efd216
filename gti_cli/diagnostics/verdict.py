"""One word for a set of new rows, which figure crossed which threshold, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COLLAPSED, CROWDED, SCATTERED, DISTINCT = "collapsed", "crowded", "scattered", "distinct"
STRUCTURED, PARTLY, GROUNDED = "structured", "partly grounded", "grounded"

# Shares of the way from effective rank 1 (one point) to that of as many pretrained rows. Rows spread about their mean
# like pretrained rows, only t times as far, reach 5 % at t = 0.04 and 20 % at t = 0.1 (constructed, mean 1.3 times the
# spread, as in small language models).
COLLAPSED_UP_TO = 0.05
CROWDED_UP_TO = 0.2
# Correlation with the codebooks' cosines within a level, means taken off. Where 10 % of the rows' variance is a linear
# image of the codebook and the rest is noise it is 0.25 to 0.5 (constructed; widths 32 to 1,024): 0.1 takes a few per
# cent of the variance, and the permutation test says that it is no chance.
LEAST_RSA = 0.1
MOST_P = 0.01  # in at least one level, so divided by the number of levels that were tested


@dataclass(frozen=True)
class Verdict:
    """``word`` is one of this module's constants; ``reason`` and ``advice`` are a sentence each."""

    word: str
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
_DISTINCT = {
    True: "ground them on the items' texts ('gti ground'), or for longer",
    False: "diagnose in the workspace that holds the codebooks, or pass --codebooks FILE",
}


def judge(figures: Mapping[str, Any]) -> Verdict:
    """Judge the figures of `measure.measure`, by the first that applies:

    - collapsed: effective rank at most `COLLAPSED_UP_TO` of the way from one point to as many pretrained rows; the
      model cannot tell the tokens apart. crowded: at most `CROWDED_UP_TO`; they have begun to come apart.
    - grounded: on the pretrained manifold (the median cosine to the nearest pretrained row is at least what 95 % of
      pretrained rows have among themselves) and following the codebooks: in some level RSA, each level's mean row taken
      off, of at least `LEAST_RSA` with p at most `MOST_P` over the number of levels. partly grounded: on the manifold,
      RSA significant but smaller. structured: following the codebooks, off the manifold.
    - distinct: on the manifold, without RSA (or without codebooks to compare with). scattered: off it, without RSA of
      that size.

    The RSA over all codes with rows as they are (the paper's) does not decide: pairs of codes of different levels,
    which come to differ in any training, outweigh the pairs of one level.
    """
    rank, reference = figures["effective_rank"], figures["pretrained_effective_rank"]
    share = (rank - 1) / max(reference - 1, 1e-9)
    said = [
        f"effective rank {rank:,.1f} is {100 * max(share, 0):.0f} % of the way from one point (1) to as many "
        f"pretrained rows ({reference:,.1f}); up to {100 * COLLAPSED_UP_TO:.0f} % is collapsed, "
        f"up to {100 * CROWDED_UP_TO:.0f} % crowded"
    ]
    if share <= COLLAPSED_UP_TO:
        return Verdict(COLLAPSED, f"{said[0]}; mean cosine {figures['mean_cosine']:.2f}", _ADVICE[COLLAPSED])
    near, usual = figures["nearest_pretrained_cosine_q50"], figures["pretrained_nearest_cosine_q05"]
    on = near >= usual
    said.append(
        f"{'on' if on else 'off'} the pretrained manifold: the median cosine to the nearest pretrained row is "
        f"{near:.2f}, {'at least' if on else 'less than'} the {usual:.2f} that 95 % of pretrained rows reach"
    )
    strength, sentence = _following(figures)
    said.append(sentence)
    if figures.get("word_agreement") is not None:
        said.append(
            f"{100 * figures['word_agreement']:.0f} % of their nearest words occur in the texts of their items, "
            f"{100 * figures['word_agreement_chance']:.0f} % by chance"
        )
    if share <= CROWDED_UP_TO:
        word = CROWDED
    elif strength == _STRONG:
        word = GROUNDED if on else STRUCTURED
    elif not on:
        word = SCATTERED
    else:
        word = PARTLY if strength == _WEAK else DISTINCT
    advice = _DISTINCT[strength != _UNKNOWN] if word == DISTINCT else _ADVICE[word]
    return Verdict(word, "; ".join(said), advice)


_STRONG, _WEAK, _NONE, _UNKNOWN = range(4)


def _following(figures: Mapping[str, Any]) -> tuple[int, str]:
    """How well rows follow the codebooks, and the figures that say so."""
    tested = _correlations(figures)
    if not tested:
        return _UNKNOWN, "no codebooks to compare them with" if not figures.get("rsa_tokens") else "RSA undefined"
    most = MOST_P / len(tested)
    sure = [entry for entry in tested if entry[2] <= most and entry[1] > 0]
    needed = f"needs r of at least {LEAST_RSA} with p of at most {most:.2g}"
    scope, r, p = max(sure or tested, key=lambda entry: entry[1])
    among = f"the best of {len(tested)} levels, " if len(tested) > 1 else ""
    best = f"RSA r = {r:.2f} {scope} (p = {p:.3f}, {among}{needed})"
    if sure and r >= LEAST_RSA:
        return _STRONG, f"following the codebooks: {best}"
    if sure:
        return _WEAK, f"following the codebooks weakly: {best}"
    return _NONE, f"not following the codebooks: {best}"


def _correlations(figures: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """(scope, r, p) within each level; over all codes as they are where no level can be tested."""
    found = [
        (f"within level {level}", entry.get("centred_pearson"), entry.get("centred_p"))
        for level, entry in figures.get("rsa_levels", {}).items()
    ]
    if not found:
        found = [("over all codes", figures.get("rsa_pearson"), figures.get("rsa_p"))]
    return [(scope, r, p) for scope, r, p in found if r is not None and p is not None]
