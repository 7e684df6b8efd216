"""Long runs are validated unasked, short ones are not."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import pytest

from gti_cli.recommendation.finetune import finetune
from gti_cli.recommendation.validation import MAX_VALIDATIONS, default_validations
from gti_cli.workspace.manifest import digest_path

SMALL: dict[str, Any] = {"batch_size": 64, "learning_rate": 3e-3, "device": "cpu", "dtype": "float32"}


@pytest.mark.parametrize(
    ("passes", "found"), [(0.2, 0), (3.0, 0), (3.4, 0), (3.6, 4), (10.02, 10), (500.0, MAX_VALIDATIONS)]
)
def test_times(passes: float, found: int) -> None:
    assert default_validations(passes) == found


def test_a_long_run_keeps_its_best_weights(
    make_world: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    values = cycle([0.1, 0.5, 0.3, 0.2, 0.1])
    monkeypatch.setattr("gti_cli.training.callbacks.validation.Ranker.__call__", lambda *_: next(values))
    made = {
        name: finetune(world.interactions, world.workspace, name=name, **SMALL, **options)
        for name, options in {
            "short": {"epochs": 2.0},
            "long": {"epochs": 5.0},
            "never": {"epochs": 5.0, "validations": 0},
            "asked": {"epochs": 5.0, "validations": 5},
        }.items()
    }
    assert (
        "validating 5 times during training, to keep the best weights (--validations 0: the last)"
        in capsys.readouterr().err
    )
    assert [made[name].counts.get("validations") for name in made] == [None, 5, None, 5]
    assert [made[name].options["validations"] for name in made] == [0, "auto", 0, 5]
    assert made["long"].metrics["valid_ndcg@10"] == 0.5
    looked = made["long"].metrics["valid_ndcg@10_by_step"]
    assert [value for _, value in looked] == [0.1, 0.5, 0.3, 0.2, 0.1]
    assert [step for step, _ in looked][1::3] == [made["long"].counts["best_step"], made["long"].counts["steps"]]
    assert made["long"].counts["best_step"] < made["long"].counts["steps"]
    digests = {name: digest_path(world.workspace / name, "gti.json") for name in made}
    assert digests["long"] == digests["asked"] != digests["never"]


def test_steps_count_as_the_passes_they_make(make_world: Any) -> None:
    world = make_world()
    made = finetune(world.interactions, world.workspace, max_steps=6, **{**SMALL, "batch_size": 512})
    assert made.metrics["epochs"] > 3.5 and made.counts["validations"] == min(round(made.metrics["epochs"]), 6)


def test_what_cannot_be_ranked_is_not(make_world: Any) -> None:
    world = make_world()
    made = finetune(world.interactions, world.workspace, tasks=("lc-rec",), max_steps=4, **{**SMALL, "batch_size": 512})
    assert made.metrics["epochs"] > 3.5 and "validations" not in made.counts
