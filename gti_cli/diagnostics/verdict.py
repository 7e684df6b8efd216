"""One word for a set of new rows, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COLLAPSED, SCATTERED, GROUNDED, DISTINCT = "collapsed", "scattered", "grounded", "distinct"

LOW_RANK = 0.05  # of the pretrained rows' effective rank, both less the 1 that any rows have
LEAST_RSA = 0.1  # Pearson correlation with the codebooks' cosines that counts as their structure …
MOST_P = 0.01  # … and how unlikely it must be by chance


@dataclass(frozen=True)
class Verdict:
    """``word`` is one of collapsed, scattered, grounded, distinct; ``reason`` and ``advice`` are a sentence each."""

    word: str
    reason: str
    advice: str


_START = (
    "give the rows a start that tells them apart or ground them ('gti ground'), "
    "and train them at a higher rate than the model"
)
_GROUND = "ground them on the items' texts ('gti ground') before fine-tuning"
_LONGER = "ground them for longer, or at a higher rate"


def judge(figures: Mapping[str, Any]) -> Verdict:
    """Judge the figures of `measure.measure`.

    - collapsed: the rows use hardly any direction, (effective rank - 1) at most `LOW_RANK` of what as many pretrained
      rows have. They are one point or one line; the model cannot tell the tokens apart.
    - grounded: not collapsed, and the RSA with the codebooks is at least `LEAST_RSA` with p at most `MOST_P`, over all
      codes or within the first level. (The first level holds what sets items apart most; deeper levels code what is
      left over, and can be right without resembling their codebook.)
    - scattered: not collapsed, without that structure; or, where there are no codebooks to compare with, off the
      pretrained manifold (the median cosine to the nearest pretrained row is below what 95 % of pretrained rows have).
    - distinct: not collapsed and on the manifold, and no codebooks say whether the rows mean anything.
    """
    rank, reference = figures["effective_rank"], figures["pretrained_effective_rank"]
    near, usual = figures["nearest_pretrained_cosine_q50"], figures["pretrained_nearest_cosine_q05"]
    if (rank - 1) / max(reference - 1, 1e-9) <= LOW_RANK:
        return Verdict(
            COLLAPSED,
            f"effective rank {rank:.1f} where as many pretrained rows have {reference:.1f}, "
            f"mean cosine {figures['mean_cosine']:.2f}",
            _START,
        )
    where = (
        f"{'on' if near >= usual else 'off'} the pretrained manifold "
        f"(median cosine to the nearest row {near:.2f}, of pretrained rows 95 % have {usual:.2f} or more)"
    )
    found = _correlations(figures)
    if not found:
        if near < usual:
            return Verdict(SCATTERED, f"the rows are distinct and lie {where}", _GROUND)
        reason = f"the rows are distinct and lie {where}; there are no codebooks to compare them with"
        return Verdict(DISTINCT, reason, "diagnose in the workspace that holds the codebooks, or pass --codebooks FILE")
    said = " and ".join(f"r = {r:.2f} {scope} (p = {p:.3f})" for scope, r, p in found)
    if any(r >= LEAST_RSA and p <= MOST_P for _, r, p in found):
        return Verdict(GROUNDED, f"the rows follow the codebooks, RSA {said}, and lie {where}", "nothing")
    weak = any(r > 0 and p <= MOST_P for _, r, p in found)
    follow = "hardly follow" if weak else "do not follow"
    return Verdict(
        SCATTERED,
        f"the rows are distinct, {follow} the codebooks, RSA {said}, and lie {where}",
        _LONGER if weak else _GROUND,
    )


def _correlations(figures: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """(scope, r, p) over all codes and within the first level, as far as defined."""
    first = figures.get("rsa_levels", {}).get("0", {})
    found = [
        ("over all codes", figures.get("rsa_pearson"), figures.get("rsa_p")),
        ("within the first level", first.get("pearson"), first.get("p")),
    ]
    return [(scope, r, p) for scope, r, p in found if r is not None and p is not None]
