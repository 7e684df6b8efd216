"""What each member adds, on made-up recommenders of which one knows nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gti_cli.blending.shares import METRIC, fit_with_and_without
from tests.support.blends import made_up_scores


def test_shares_of_those_who_know_something() -> None:
    said, targets = made_up_scores(users=200, items=30)
    done: list[int] = []
    users = [f"u{n}" for n in range(len(targets))]
    fitted = fit_with_and_without(said, targets, users, seed=0, advance=lambda: done.append(1))
    report = fitted.report()
    assert len(done) == len(said.members) + 1 and set(report["members"]) == set(said.members)
    for name, member in report["members"].items():
        loss = member["loss_without"]
        assert loss["difference"] == pytest.approx(report[METRIC] - member[f"{METRIC}_without"])
        assert (loss["low"] > 0) == (name != "noise")
        assert fitted.without[name].members == tuple(other for other in said.members if other != name)
    # A member alone: the ranks in its own list, by a loop.
    number = said.members.index("first")
    gains = []
    for user, target in enumerate(targets):
        part = slice(said.candidates.offsets[user], said.candidates.offsets[user + 1])
        rows, scores = said.candidates.rows[part], said.scores[number, part]
        own = [score for row, score in zip(rows, scores, strict=True) if row == target]
        listed = said.listed[number, part]
        ahead = sum(score > own[0] for score in scores[listed]) if own and listed[rows == target][0] else 10
        gains.append(1 / math.log2(2 + ahead) if ahead < 10 else 0.0)
    assert report["members"]["first"][METRIC] == pytest.approx(np.mean(gains))
