"""The plan of an evaluation: what it resolves, records and refuses, and how its stage behaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gti_cli.decoding.search_parts import SearchRequest
from gti_cli.decoding.trie import build_trie
from gti_cli.errors import InputError
from gti_cli.evaluation.options import EvaluateOptions
from gti_cli.evaluation.plan import EvaluationPlan, find_ids_and_checkpoint, make_plan, open_stage, output_name
from gti_cli.options import RunOptions
from gti_cli.workspace import StageRun, Workspace
from tests.support.evaluation import HISTORY, SIZES, World, add_checkpoint, add_semantic_ids, make_codes, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def plan_of(world: World, **options: Any) -> EvaluationPlan:
    space = Workspace(world.workspace)
    return make_plan(space, None, EvaluateOptions(**options), seed=3, device="cpu", dtype="float32")


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ({"k": (1,)}, {"beams": 20, "history": HISTORY, "k": (1,)}),
        ({"k": (30, 5, 30)}, {"beams": 30, "history": HISTORY, "k": (5, 30)}),
        ({"k": (2,), "beams": 3, "history": 2}, {"beams": 3, "history": 2, "k": (2,)}),
    ],
)
def test_options_are_resolved(world: World, given: dict[str, Any], resolved: dict[str, Any]) -> None:
    options = plan_of(world, **given).options
    assert {name: getattr(options, name) for name in resolved} == resolved


def test_recorded_options_name_what_decides_the_result(world: World) -> None:
    recorded = plan_of(world, k=(5,)).recorded_options()
    assert recorded == {
        "split": "test",
        "k": [5],
        "search": "beam",
        "beams": 20,
        "dtype": "float32",
        "checkpoint": None,  # a checkpoint of the workspace is recorded as upstream
    }
    sampled = plan_of(world, k=(5,), sample=4).recorded_options()
    assert sampled == {**recorded, "sample": 4, "sample_seed": 3}


def test_a_checkpoint_of_other_semantic_ids_is_refused(tmp_path: Path, world: World) -> None:
    ids, checkpoint = find_ids_and_checkpoint(Workspace(world.workspace), None)
    assert ids.name == "semantic_ids" and Path(checkpoint.path).name == "finetuned"
    other = Workspace(tmp_path / "other")
    add_checkpoint(other, add_semantic_ids(other, make_codes()[::-1].copy(), "others"))
    with pytest.raises(InputError, match="other semantic IDs"):
        find_ids_and_checkpoint(Workspace(world.workspace), str(tmp_path / "other" / "finetuned"))
    with pytest.raises(InputError, match="gti build-ids"):
        find_ids_and_checkpoint(Workspace(tmp_path / "empty"), None)


def test_names_of_the_output(world: World) -> None:
    plan = plan_of(world)
    assert output_name(plan, None) == "evaluation/finetuned"
    assert output_name(plan, None, "-search") == "evaluation/finetuned-search"
    assert output_name(plan, "mine", "-search") == "evaluation/mine"
    with pytest.raises(InputError, match="--name"):
        output_name(plan, "../outside")


def open_named(plan: EvaluationPlan, name: str, **run_options: Any) -> Any:
    return open_stage(
        plan,
        f"evaluation/{name}",
        RunOptions(seed=3, **run_options),
        options={"history": 1},
        inputs={},
        details={"other_table": True},
        counts={"not_drawn": 2},
    )


def write(run: StageRun, name: str) -> None:
    run.path(f"evaluation/{name}").mkdir(parents=True)
    run.path(f"evaluation/{name}/metrics.json").write_text("{}")


def test_a_stage_records_its_beginning_and_is_done_the_second_time(world: World) -> None:
    plan = plan_of(world, k=(5,))
    with open_named(plan, "twice") as run:
        assert not run.done and str(run.device).startswith("cpu") and run.counts == {"not_drawn": 2}
        write(run, "twice")
    manifest = run.result()
    assert manifest.counts == {"not_drawn": 2} and manifest.details == {"other_table": True}
    assert manifest.options == {**plan.recorded_options(), "history": 1} and manifest.seed == 3
    assert set(manifest.upstream) == {"semantic_ids", "finetuned"}
    with open_named(plan, "twice") as again:
        assert again.done and again.device is None and again.counts == {}
    assert again.result().run == manifest.run


def test_an_error_in_the_stage_leaves_no_output_and_is_passed_on(world: World) -> None:
    plan = plan_of(world, k=(5,))
    with pytest.raises(RuntimeError, match="in the middle"), open_named(plan, "broken") as run:
        write(run, "broken")
        raise RuntimeError("in the middle")
    assert not (world.workspace / "evaluation" / "broken").exists()
    assert not (world.workspace / "evaluation" / "broken.json").exists()


def test_prompts_longer_than_the_model_are_refused_and_the_last_code_needs_no_position(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    space = Workspace(world.workspace)
    add_checkpoint(space, space.require("semantic_ids", ""), "short", max_position_embeddings=12)
    plan = make_plan(space, "short", EvaluateOptions(k=(2,)), seed=0, device="cpu", dtype="float32")
    tokenizer, searcher, _ = plan.load(build_trie(plan.catalogue.codes))
    assert searcher.pad_id == tokenizer.pad_token_id
    longest = 12 - (len(SIZES) - 1)
    run = StageRun(False, tmp_path, tmp_path / "scratch", False, None)  # type: ignore[arg-type]
    result = plan.search(searcher, SearchRequest([[5] * longest], [0], 2, 2, exact=True), run, "Searching", "users")
    assert result.ranking.leaves.shape == (1, 2) and result.searched == 1
    assert set(run.measured) == {"users_per_second"} and run.counts == result.exact_counts()
    assert list(plan.parts_folder(run.scratch).iterdir())
    for unit, remedy in (("users", "--history"), ("queries", "more positions")):
        too_long = SearchRequest([[5] * (longest + 1)], [0], 2, 2, exact=False)
        with pytest.raises(InputError, match="12 positions") as raised:
            plan.search(searcher, too_long, run, "Searching", unit)
        assert remedy in (raised.value.remedy or "")
