"""The stage: what it reports, against loops over users; what it refuses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gti_cli.app import run
from gti_cli.blending.blend import blend
from gti_cli.errors import InputError
from gti_cli.workspace import Workspace
from gti_cli.workspace.lineage import inspect
from tests.support.blends import LIST_LENGTH, MEMBERS, Blended, best, member_scores


def test_figures_by_a_loop_over_users(blended: Blended) -> None:
    metrics, counts = blended.manifest.metrics, blended.manifest.counts
    # The validation item is the last but one; the test item is not looked at.
    known = {user: items[:-1] for user, items in blended.world.histories.items() if len(items) > 2}
    scores = member_scores(blended, [items[:-1] for items in known.values()])
    assert counts["targets_used"] == counts["valid_targets"] == len(known)
    gains: dict[str, list[float]] = {name: [] for name in MEMBERS}
    found = candidates = 0
    for user, items in enumerate(known.values()):
        union = set()
        for name in MEMBERS:
            listed = best(scores[name][user], set(), LIST_LENGTH)
            union |= set(listed)
            own = scores[name][user][items[-1]]
            alike = [row for row in listed if scores[name][user][row] == pytest.approx(own, abs=1e-5)]
            ahead = sum(scores[name][user][row] > own for row in listed if row not in alike)
            ranks = range(ahead + 1, ahead + len(alike) + 1) if items[-1] in listed else []
            gains[name].append(sum(1 / math.log2(1 + rank) for rank in ranks) / max(len(alike), 1))
        candidates += len(union)
        found += items[-1] in union
    assert (counts["candidates"], counts["targets_among_candidates"]) == (candidates, found)
    for name in MEMBERS:
        assert metrics["members"][name]["ndcg@10"] == pytest.approx(np.mean(gains[name]), abs=1e-6)
    low, high = metrics["ndcg@10_interval"]
    assert low <= metrics["ndcg@10"] <= high
    if metrics["choice"]["form"] in ("mixture", "product"):
        assert [metrics["members"][name]["weight"] for name in MEMBERS] == metrics["choice"]["weights"]
    assert set(metrics["tuning"]) == {"item-knn", "content-knn"}


def test_done_already_and_listed(blended: Blended, capsys: pytest.CaptureFixture[str]) -> None:
    world = blended.world
    again = blend(list(MEMBERS), world.interactions, world.workspace, list_length=LIST_LENGTH, dtype="float32")
    assert again.run == blended.manifest.run
    (state,) = [entry for entry in inspect(Workspace(world.workspace)) if entry.manifest.name == "blend"]
    assert state.state == "up to date" and state.sources[:2] == ["finetuned", "semantic_ids"]
    for command in (["finetune", "--from", "blend", "--interactions", str(world.interactions)], ["diagnose", "blend"]):
        assert run([*command, "-w", str(world.workspace)]) == 2
        assert "'blend' is a blend of several recommenders, and no checkpoint" in capsys.readouterr().err


def test_an_interrupted_run_goes_on(blended: Blended, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model searches and scores nothing again, and the result is that of the fixture."""
    world = blended.world
    options: dict[str, Any] = {"name": "again", "list_length": LIST_LENGTH, "dtype": "float32"}
    with monkeypatch.context() as broken:
        broken.setattr("gti_cli.blending.blend.fit_with_and_without", None)
        with pytest.raises(TypeError):
            blend(list(MEMBERS), world.interactions, world.workspace, **options)
    for work in ("search_all", "score_items"):
        monkeypatch.setattr(f"gti_cli.decoding.search_parts.{work}", None)
    blend(list(MEMBERS), world.interactions, world.workspace, **options)
    files = [(world.workspace / name / "blend.json").read_bytes() for name in ("again", "blend")]
    assert files[0] == files[1]


def test_refused(blended: Blended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, space = blended.world.interactions, blended.world.workspace
    with pytest.raises(InputError, match="--name 'finetuned' is one of the members"):
        blend(["finetuned", "item-knn"], table, space, name="finetuned")
    with pytest.raises(InputError, match=r"made already.*Pass --force"):
        blend(["finetuned", "item-knn"], table, space)
    with pytest.raises(TypeError, match="no option is called samples"):
        blend(["finetuned", "item-knn"], table, space, samples=3)  # type: ignore[call-arg]
    short = tmp_path / "short.csv"
    short.write_text("user_id,item_id,timestamp,split\na,i1,1,train\na,i2,2,test\n")
    with pytest.raises(InputError, match="0 validation targets, and the weights of a blend are chosen by them"):
        blend(["finetuned", "item-knn"], short, space)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="runs in one process"):
        blend(["finetuned", "item-knn"], table, space)
