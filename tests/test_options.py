from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from gti_cli.app import run as gti
from gti_cli.diagnostics.diagnose import diagnose
from gti_cli.errors import InputError
from gti_cli.evaluation.compare import compare
from gti_cli.evaluation.options import EvaluateKeywords, EvaluateOptions
from gti_cli.grounding.options import GroundKeywords, GroundOptions
from gti_cli.options import RunKeywords, RunOptions, changed, option, pick, refuse_unknown
from gti_cli.recommendation.conversations import export_conversations
from gti_cli.recommendation.options import FinetuneKeywords, FinetuneOptions
from gti_cli.recommendation.recommend import recommend
from gti_cli.recommendation.requests import RecommendKeywords, RecommendOptions
from gti_cli.semantic_ids.options import IdsKeywords, IdsOptions
from gti_cli.tables.equal_times import InteractionKeywords, InteractionOptions
from gti_cli.vocabulary.options import ExtendKeywords, StartOptions


@dataclass(frozen=True)
class Paint:
    colour: str = option("red", "What it looks like.")
    coats: int = option(2, "How many.")


def test_each_dataclass_picks_its_own_keywords() -> None:
    given = {"coats": 3, "seed": 5}
    assert pick(Paint, given) == Paint("red", 3)
    assert pick(RunOptions, given) == RunOptions(seed=5)


def test_only_the_fields_that_differ_from_their_defaults() -> None:
    assert changed(Paint()) == {}
    assert changed(Paint(coats=5)) == {"coats": 5}


def test_a_keyword_that_nobody_knows_is_refused_by_name() -> None:
    refuse_unknown({"coats": 3, "seed": 5}, Paint, RunOptions)
    with pytest.raises(TypeError, match="coat;"):
        refuse_unknown({"coat": 3, "seed": 5}, Paint, RunOptions)


def mirrors(keywords: Any, *kinds: Any) -> None:
    """The TypedDict names what the dataclasses name."""
    assert set(typing.get_type_hints(keywords)) == {entry.name for kind in kinds for entry in fields(kind)}


def test_keywords_are_those_of_the_dataclasses() -> None:
    mirrors(RunKeywords, RunOptions)
    mirrors(IdsKeywords, IdsOptions, RunOptions)
    mirrors(ExtendKeywords, StartOptions, RunOptions)
    mirrors(GroundKeywords, GroundOptions, RunOptions)
    mirrors(InteractionKeywords, InteractionOptions)
    mirrors(FinetuneKeywords, FinetuneOptions, InteractionOptions, RunOptions)
    mirrors(EvaluateKeywords, EvaluateOptions, InteractionOptions, RunOptions)
    mirrors(RecommendKeywords, RecommendOptions, InteractionOptions)


@pytest.mark.parametrize("seed", [-1, 2**32])
@pytest.mark.parametrize(
    "stage",
    [
        lambda where, seed: RunOptions(seed=seed),
        lambda where, seed: recommend(where, queries={"q": "words"}, seed=seed),
        lambda where, seed: export_conversations(where / "chat.jsonl", where, seed=seed),
        lambda where, seed: diagnose(["extended"], where, seed=seed),
        lambda where, seed: compare(where, "one", "other", seed=seed),
    ],
    ids=["RunOptions", "recommend", "export", "diagnose", "compare"],
)
def test_seed_out_of_range(stage: Callable[[Path, int], object], seed: int, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=rf"^--seed {seed} is out of range\. Give a whole number from 0 to 4294967295\.$"
    ):
        stage(tmp_path, seed)


def test_every_seed_in_range_is_taken() -> None:
    assert [RunOptions(seed=seed).seed for seed in (0, 2**32 - 1)] == [0, 2**32 - 1]


def test_command_says_it_in_one_line(tmp_path: Path, capsys: Any) -> None:
    assert gti(["ground", "-w", str(tmp_path), "--seed", "-1"]) == 2
    assert capsys.readouterr().err.strip().startswith("error: --seed -1 is out of range.")
