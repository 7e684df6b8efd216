"""Cards against the hub's own parser, and when they are written, refreshed and left alone."""

from __future__ import annotations

import contextlib
import io
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from gti_cli.cards.card import refresh_card, write_card
from gti_cli.checkpoints.finding import Checkpoint
from gti_cli.checkpoints.loading import load_tokenizer
from gti_cli.prompts.next_item import encode_history
from gti_cli.workspace import Workspace, lock
from gti_cli.workspace.lineage import inspect
from gti_cli.workspace.sealed import read_seal
from tests.support.cards import INTERVALS, METRICS, add_evaluation, checkpoint_of, python_code
from tests.support.evaluation import World, add_semantic_ids, make_codes, make_histories, make_world, write_interactions

BASE_CARD = "---\nlicense: apache-2.0\ndatasets:\n- owner/words\n---\n# Base\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Checkpoint:
    """A hub model in the hub's cache, with a card."""
    folder = tmp_path / "hub" / "models--owner--small" / "snapshots" / "0123"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(BASE_CARD)
    return Checkpoint(str(folder), True, None, None)


def new_card(space: Workspace, start: Checkpoint) -> Path:
    """Give the checkpoint ``finetuned`` the card that its stage would have written."""
    manifest = checkpoint_of(space).manifest
    assert manifest is not None
    write_card(space, start, manifest, space.path("finetuned"))
    return space.path("finetuned") / "README.md"


def test_the_hub_reads_the_metadata(world: World, start: Checkpoint) -> None:
    space = Workspace(world.workspace)
    path = new_card(space, start)
    fresh = ModelCard.load(path).data
    assert (fresh.license, fresh.license_name, fresh.base_model) == ("apache-2.0", None, "owner/small")
    assert fresh.get("base_model_relation") == "finetune" and fresh.datasets == ["owner/words"]
    assert (fresh.library_name, fresh.pipeline_tag) == ("transformers", "text-generation")
    assert {"gti", "semantic-ids", "generative-recommendation"} <= set(fresh.tags)
    assert fresh.eval_results is None and fresh.metrics is None
    refresh_card(space, checkpoint_of(space), add_evaluation(space, world.interactions))
    card = ModelCard.load(path)
    data = card.data
    assert data.model_name == "finetuned" and data.metrics == list(METRICS)
    assert {result.metric_type: result.metric_value for result in data.eval_results} == METRICS
    assert {r.metric_type: r.metric_args["interval_95"] for r in data.eval_results if r.metric_args} == INTERVALS
    assert {(r.dataset_name, r.dataset_split) for r in data.eval_results} == {("interactions.parquet", "test")}
    # What the first card said is still there, and the parser writes what it read.
    assert {**data.to_dict(), "model-index": None, "metrics": None} == {
        **fresh.to_dict(), "model-index": None, "metrics": None
    }  # fmt: skip
    assert ModelCard(str(card)).data.to_dict() == data.to_dict()


def test_readers_see_figures_with_intervals_and_no_folder_of_this_machine(
    world: World, start: Checkpoint, tmp_path: Path
) -> None:
    space = Workspace(world.workspace)
    path = new_card(space, start)
    assert "Not evaluated yet" in path.read_text()
    refresh_card(space, checkpoint_of(space), add_evaluation(space, world.interactions))
    text = path.read_text()
    assert "| metric | this model | popularity |\n|---|---|---|\n" in text
    assert "| recall@10 | 0.2500 [0.1250, 0.3750] | 0.0625 [0.0312, 0.0938] |\n" in text
    assert "| ndcg@10 | 0.3333 [0.2000, 0.4000] | – |\n| coverage@10 | 0.5000 | – |\n" in text
    assert "1,234 users' targets; beam search, 20 beams" in text
    assert "Not evaluated yet" not in text and str(tmp_path) not in text and str(Path.home()) not in text


def test_equal_runs_give_equal_cards(tmp_path: Path, start: Checkpoint) -> None:
    texts = []
    for name in ("one", "two"):
        world = make_world(tmp_path / name)
        space = Workspace(world.workspace)
        path = new_card(space, start)
        for evaluation in ("b", "a"):
            refresh_card(space, checkpoint_of(space), add_evaluation(space, world.interactions, evaluation))
        texts.append(path.read_bytes())
    assert b"transformers 4.57 and 5 read it alike" in texts[0]
    assert texts[0] == texts[1] and texts[0].count(b"### Next-item recommendation: ") == 2


def test_a_card_says_which_transformers_a_checkpoint_needs(world: World, start: Checkpoint) -> None:
    space = Workspace(world.workspace)
    manifest, folder = checkpoint_of(space).manifest, space.path("finetuned")
    assert manifest is not None
    config = folder / "config.json"
    content = json.loads(config.read_text())
    content.pop("rope_theta")  # as transformers 5 writes it, and gti before it wrote the older keys, too
    config.write_text(json.dumps(content))
    write_card(space, start, manifest, folder)
    assert "needs transformers 5 or newer" in (folder / "README.md").read_text()


@pytest.mark.parametrize("edit", ["inside", "behind", "all", "licence"])
def test_an_edited_card_is_left_alone(
    world: World, start: Checkpoint, edit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    space = Workspace(world.workspace)
    path = new_card(space, start)
    edits = {
        "inside": path.read_text().replace("# finetuned", "# Our recommender"),
        "behind": path.read_text() + "\nWe thank our users.\n",
        "all": "# Ours\n",
        "licence": path.read_text().replace("license: apache-2.0", "license: mit"),
    }
    path.write_text(edits[edit])
    refresh_card(space, checkpoint_of(space), add_evaluation(space, world.interactions))
    assert path.read_text() == edits[edit]
    assert "README.md is not as gti wrote it, so it is left as it is: its figures" in capsys.readouterr().err
    # Nor does an edit make the checkpoint one that was tampered with.
    assert checkpoint_of(space).manifest and {state.state for state in inspect(space)} == {"up to date"}
    # Made again with --force, the checkpoint keeps the card that somebody wrote.
    manifest, target = checkpoint_of(space).manifest, path.parent.with_name("staged")
    target.mkdir()
    assert manifest is not None
    write_card(space, start, manifest, target)
    assert (target / "README.md").read_text() == edits[edit]
    assert "is not as gti wrote it, so it is kept" in capsys.readouterr().err


def test_a_card_is_refreshed_once_for_each_new_result(
    world: World, start: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Workspace(world.workspace)
    path = new_card(space, start)
    first = add_evaluation(space, world.interactions)
    refresh_card(space, checkpoint_of(space), first)
    written = path.read_text()
    monkeypatch.setattr("gti_cli.cards.card.render_card", None)  # calling it fails
    refresh_card(space, checkpoint_of(space), first)
    assert path.read_text() == written
    monkeypatch.undo()
    # The evaluation made anew in another way takes the place of the first.
    refresh_card(space, checkpoint_of(space), add_evaluation(space, world.interactions, beams=50, search="exact"))
    assert "exact search, 50 beams" in path.read_text() and "20 beams" not in path.read_text()


def test_an_old_checkpoint_gets_a_card_and_stays_what_it_was(world: World) -> None:
    """Checkpoints of the time before cards have none, and their digest may include a card of the base model."""
    space = Workspace(world.workspace)
    before = checkpoint_of(space).manifest
    refresh_card(space, checkpoint_of(space), add_evaluation(space, world.interactions))
    data = ModelCard.load(space.path("finetuned") / "README.md").data
    assert (data.license, data.license_name, data.base_model) == ("other", "unknown", None)
    assert len(data.eval_results) == len(METRICS)
    assert checkpoint_of(space).manifest == before


def test_a_checkpoint_outside_the_workspace(world: World, start: Checkpoint, tmp_path: Path) -> None:
    """It is known by its digest, to which its card does not belong."""
    space = Workspace(world.workspace)
    new_card(space, start)
    outside = tmp_path / "published"
    space.path("finetuned").rename(outside)
    found = Checkpoint(str(outside), True, Workspace(tmp_path).manifest("published"), None)
    evaluations = []
    for name in ("a", "b"):
        folder = f"evaluation/{name}"
        inputs = {"interactions": world.interactions, "checkpoint": outside}
        with space.stage("evaluate", folder, [folder], options={}, inputs=inputs) as run:
            run.path(folder).mkdir(parents=True)
            run.metrics["metrics"] = METRICS
        evaluations.append(run.result())
        refresh_card(space, found, run.result())
    assert evaluations[0].inputs["checkpoint"]["sha256"] == evaluations[1].inputs["checkpoint"]["sha256"]
    data = ModelCard.load(outside / "README.md").data
    assert {result.dataset_config for result in data.eval_results} == {"a", "b"} and data.base_model == "owner/small"
    (outside / "README.md").unlink()
    refresh_card(space, found, run.result())
    assert not (outside / "README.md").exists()  # in the user's own folder no card is made where there was none


def test_a_card_that_cannot_be_written_is_a_warning(
    world: World, start: Checkpoint, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Workspace(world.workspace)
    path = new_card(space, start)
    evaluation, before = add_evaluation(space, world.interactions), path.read_text()

    def full(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    refresh_card(space, checkpoint_of(space), evaluation)
    assert "README.md was not refreshed: No space left on device" in capsys.readouterr().err
    assert path.read_text() == before and not list(path.parent.glob(".*"))
    monkeypatch.undo()
    monkeypatch.setattr(lock, "PATIENCE", 0)
    with space.lock():
        refresh_card(space, checkpoint_of(space), evaluation)
    assert "another gti process is writing in this workspace" in capsys.readouterr().err and path.read_text() == before
    refresh_card(space, checkpoint_of(space), evaluation)
    assert read_seal(path.read_text()) and "0.2500 [0.1250, 0.3750]" in path.read_text()


def test_cards_that_are_nobody_elses_business(world: World, start: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process of a launch, a model of another tool, and a copy in the hub's cache."""
    space = Workspace(world.workspace)
    evaluation = add_evaluation(space, world.interactions)
    found = checkpoint_of(space)
    monkeypatch.setenv("RANK", "1")
    refresh_card(space, found, evaluation)
    monkeypatch.delenv("RANK")
    refresh_card(space, Checkpoint(found.path, True, None, None), evaluation)
    assert not (Path(found.path) / "README.md").exists()
    refresh_card(space, Checkpoint(start.path, True, found.manifest, None), evaluation)
    assert (Path(start.path) / "README.md").read_text() == BASE_CARD


def test_a_card_comes_with_its_checkpoint_or_not_at_all(tmp_path: Path, start: Checkpoint) -> None:
    world = make_world(tmp_path)
    space = Workspace(world.workspace)

    def stage(describe: Any) -> None:
        with space.stage("finetune", "new", ["new"], options={}, checkpoint=True, describe=describe) as run:
            run.path("new").mkdir()
            for file in space.path("finetuned").iterdir():
                if file.name != "gti.json":
                    os.link(file, run.path("new") / file.name)

    def killed(*arguments: Any) -> None:
        write_card(space, start, *arguments)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage(killed)
    assert not space.path("new").exists()
    stage(partial(write_card, space, start))
    assert read_seal((space.path("new") / "README.md").read_text())
    assert checkpoint_of(space, "new").manifest  # its digest does not include the card


def test_the_code_of_the_card_runs(world: World, start: Checkpoint) -> None:
    path = new_card(Workspace(world.workspace), start)
    code = python_code(path.read_text())
    assert "checkpoint = 'finetuned'" in code
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code.replace("'finetuned'", repr(str(path.parent))), names := {})
    history = ["<a_0><b_0><c_0>", "<a_3><b_2><c_4>"]
    prompt = encode_history(load_tokenizer(str(path.parent)), history)
    assert names["inputs"]["input_ids"].tolist() == [prompt]
    answers = names["answers"][:, len(prompt) :].tolist()
    assert len({tuple(answer) for answer in answers}) == 10 and {len(answer) for answer in answers} == {3}
    assert printed.getvalue().startswith(names["tokenizer"].decode(answers[0]))


def test_every_stage_hands_the_origin_on(tmp_path: Path, make_checkpoint: Any) -> None:
    """From a base model with a card to an evaluated checkpoint, by the stages themselves."""
    from gti_cli.evaluation.evaluate import evaluate
    from gti_cli.grounding.ground import ground
    from gti_cli.recommendation.finetune import finetune
    from gti_cli.vocabulary.extend import extend

    base = make_checkpoint()
    (base / "README.md").write_text("---\nlicense: apache-2.0\nbase_model: owner/small\n---\n# Base\n")
    space, codes = Workspace(tmp_path / "space"), make_codes()
    add_semantic_ids(space, codes)
    interactions = write_interactions(tmp_path / "interactions.parquet", make_histories())
    few: dict[str, Any] = {"max_steps": 2, "batch_size": 8, "device": "cpu", "dtype": "float32"}
    extend(str(base), space.root, device="cpu", measure_effect=False)
    ground(space.root, directions="to-tokens", **few)
    finetune(interactions, space.root, lora=True, **few)
    manifest = evaluate(interactions, space.root, k=[5], device="cpu")
    for name, words in (
        ("extended", "to whose vocabulary new tokens were added"),
        ("grounded", "whose rows were grounded"),
        ("finetuned", "was fine-tuned to name items"),
    ):
        text = (space.path(name) / "README.md").read_text()
        data = ModelCard(text).data
        assert (data.license, data.base_model) == ("apache-2.0", "owner/small"), name
        assert words in text and "# Base" not in text and str(tmp_path) not in text
        assert bool(data.eval_results) == (name == "finetuned") == ("gti recommend" in text)
    results = {result.metric_type: result for result in data.eval_results}
    assert {metric: result.metric_value for metric, result in results.items()} == manifest.metrics["metrics"]
    assert "| finetune | interactions | interactions.parquet |" in text and "lora yes" in text
    assert [state.state for state in inspect(space)] == ["up to date"] * 5
