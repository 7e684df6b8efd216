"""The options of evaluation: each bad value is refused with its name and a remedy, and good ones pass."""

from __future__ import annotations

from typing import Any

import pytest

from gti_cli.errors import InputError
from gti_cli.evaluation.options import BASELINES, EvaluateOptions


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"search": "best"}, "--search 'best'"),
        ({"split": "train"}, "--split 'train'"),
        ({"baselines": ("popularity", "bm25")}, "--baselines 'bm25'"),
        ({"k": ()}, "--k"),
        ({"k": (5, 0)}, "--k"),
        ({"sample": 0}, "--sample 0 leaves nobody"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"history": 0}, "--history 0"),
        ({"k": (5, 10), "beams": 9}, "--beams 9 is fewer than the 10"),
    ],
)
def test_bad_values_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        EvaluateOptions(**values).check()
    assert raised.value.remedy


def test_good_values_pass() -> None:
    EvaluateOptions().check()
    EvaluateOptions(
        split="valid", k=(10, 5, 10), search="exact", beams=10, history=1, batch_size=1, sample=1, baselines=BASELINES
    ).check()


def test_cut_offs_are_sorted_and_each_is_there_once() -> None:
    assert EvaluateOptions(k=(10, 5, 10, 1)).ks == [1, 5, 10]
