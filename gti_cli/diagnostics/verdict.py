"""One word for a set of new rows, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COLLAPSED, SCATTERED, GROUNDED, DISTINCT = "collapsed", "scattered", "grounded", "distinct"

LOW_RANK = 0.05  # of the pretrained rows' effective rank, both less the 1 that any rows have
LEAST_RSA = 0.1  # Pearson correlation with the codebooks' cosines that counts as their structure


@dataclass(frozen=True)
class Verdict:
    """``word`` is one of collapsed, scattered, grounded, distinct; ``reason`` and ``advice`` are a sentence each."""

    word: str
    reason: str
    advice: str


def judge(figures: Mapping[str, Any]) -> Verdict:
    """Judge the figures of `measure.measure`.

    - collapsed: the rows use hardly any direction, (effective rank - 1) at most `LOW_RANK` of what as many pretrained
      rows have. They are one point or one line; the model cannot tell the tokens apart.
    - grounded: not collapsed, and the RSA with the codebooks is at least `LEAST_RSA`.
    - scattered: not collapsed, without that structure; or, where there are no codebooks to compare with, off the
      pretrained manifold (the median cosine to the nearest pretrained row is below what 95 % of pretrained rows have).
    - distinct: not collapsed and on the manifold, and no codebooks say whether the rows mean anything.
    """
    rank, reference = figures["effective_rank"], figures["pretrained_effective_rank"]
    share = (rank - 1) / max(reference - 1, 1e-9)
    near, usual = figures["nearest_pretrained_cosine_q50"], figures["pretrained_nearest_cosine_q05"]
    if share <= LOW_RANK:
        return Verdict(
            COLLAPSED,
            f"effective rank {rank:.1f} where as many pretrained rows have {reference:.1f}, "
            f"mean cosine {figures['mean_cosine']:.2f}",
            "give the rows a start of their own ('gti extend --init text') or ground them ('gti ground'), "
            "and a higher learning rate for the new rows than for the model",
        )
    where = (
        f"{'on' if near >= usual else 'off'} the pretrained manifold "
        f"(median nearest cosine {near:.2f}, pretrained rows have {usual:.2f} or more)"
    )
    advice = "ground them on the items' texts ('gti ground') before fine-tuning"
    pearson = figures.get("rsa_pearson")
    if pearson is None:
        if near < usual:
            return Verdict(SCATTERED, f"rows are distinct and {where}", advice)
        return Verdict(
            DISTINCT,
            f"rows are distinct and {where}; no codebooks to compare them with",
            "diagnose in the workspace that holds the codebooks, or pass --codebooks FILE",
        )
    if pearson >= LEAST_RSA:
        return Verdict(GROUNDED, f"rows follow the codebooks (RSA r = {pearson:.2f}) and lie {where}", "none needed")
    return Verdict(
        SCATTERED, f"rows are distinct, do not follow the codebooks (RSA r = {pearson:.2f}) and lie {where}", advice
    )
