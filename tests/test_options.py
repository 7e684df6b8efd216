from __future__ import annotations

import typing
from dataclasses import dataclass, fields
from typing import Any

import pytest

from gti_cli.evaluation.options import EvaluateKeywords, EvaluateOptions
from gti_cli.grounding.options import GroundKeywords, GroundOptions
from gti_cli.options import RunKeywords, RunOptions, option, pick, refuse_unknown
from gti_cli.recommendation.asking import RecommendKeywords, RecommendOptions
from gti_cli.recommendation.options import FinetuneKeywords, FinetuneOptions
from gti_cli.semantic_ids.options import IdsKeywords, IdsOptions
from gti_cli.vocabulary.options import ExtendKeywords, StartOptions


@dataclass(frozen=True)
class Paint:
    colour: str = option("red", "What it looks like.")
    coats: int = option(2, "How many.")


def test_each_dataclass_picks_its_own_keywords() -> None:
    given = {"coats": 3, "seed": 5}
    assert pick(Paint, given) == Paint("red", 3)
    assert pick(RunOptions, given) == RunOptions(seed=5)


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
    mirrors(FinetuneKeywords, FinetuneOptions, RunOptions)
    mirrors(EvaluateKeywords, EvaluateOptions, RunOptions)
    mirrors(RecommendKeywords, RecommendOptions)
