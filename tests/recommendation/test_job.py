"""A run's job: what is decided and refused before the model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gti_cli.errors import InputError


def test_tasks_in_the_order_given_and_the_checkpoints_own_tokens(make_world: Any, make_job: Any) -> None:
    world = make_world()
    job = make_job(world, ("search", "next-item", "lc-rec"))
    assert [task.name for task in job.tasks] == ["search", "next-item", "lc-rec"]
    assert job.new_tokens.digest == world.tokens.digest
    assert job.tokenizer.convert_tokens_to_ids(job.new_tokens.names) == job.new_tokens.ids.tolist()
    assert job.seed == 3 and job.device.type == "cpu" and job.name == "out" and job.logs == Path("logs")


@pytest.mark.parametrize(("dtype", "autocast"), [("float32", False), ("bfloat16", True)])
def test_the_number_format_is_the_one_given(make_world: Any, make_job: Any, dtype: str, autocast: bool) -> None:
    job = make_job(make_world(), ("next-item", "search"), dtype=dtype)
    assert job.autocast == autocast and job.dtype_reason


def test_validations_need_items_to_rank(make_world: Any, make_job: Any) -> None:
    # Without interactions, LC-Rec's tasks have no validation targets.
    world = make_world()
    with pytest.raises(InputError, match="no validation example to rank"):
        make_job(world, ("lc-rec",), validations=2)
    assert make_job(world, ("lc-rec",), validations=0).tasks[0].target_rows == []
    assert make_job(world, ("next-item", "search"), validations=2).options.validations == 2


def test_options_that_do_not_work_with_a_sharded_model_are_refused(
    make_world: Any, make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, bool]] = []
    monkeypatch.setattr("gti_cli.training.sharding.check_training", lambda device, options: given.append(options))
    world = make_world()
    make_job(world, ("next-item", "search"), lora=True, learning_rate=0.1, rows_learning_rate=0.2, compile=True)
    more = {"rows_learning_rate": 0.1, "validations": 1, "prior": "item-knn"}
    make_job(world, ("next-item", "search"), learning_rate=0.1, **more)
    names = ("--prior", "--lora", "--rows-learning-rate", "--validations", "--compile")
    assert [tuple(options[name] for name in names) for options in given] == [
        (False, True, True, False, True),
        (True, False, False, True, False),
    ]
