"""The regression as a part of the stage: what it changes, reports and refuses, and resumed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gti_cli.errors import InputError
from gti_cli.grounding.ground import ground
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.nll.task import nll_task, split_pairs
from gti_cli.grounding.regression import regress
from gti_cli.grounding.regression.saved_levels import FittedLevel, Progress, SavedLevels
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.pair_prompts import TO_TOKENS
from tests.support.grounding import curve, held_out_by_hand, job_of, loaded

OPTIONS: dict[str, Any] = {"solver": "regression", "held_out": 0.2, "device": "cpu", "retrieval_sample": 4}


def assert_only_new_rows_changed(workspace: Path, ids: torch.Tensor, names: set[str]) -> None:
    """The new rows of the matrices ``names`` differ from ``extended``; no other bit does."""
    before, after = (load_file(workspace / folder / "model.safetensors") for folder in ("extended", "grounded"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == names
    for name in changed:
        old = torch.ones(len(before[name]), dtype=torch.bool)
        old[ids] = False
        assert torch.equal(before[name][old], after[name][old])


def test_without_steps_the_figures_are_the_regressions(make_world: Any) -> None:
    world = make_world()
    manifest = ground(world.workspace, max_steps=0, **OPTIONS)
    metrics, counts = manifest.metrics, manifest.counts
    assert (counts["steps"], metrics["epochs"], "train_loss" in metrics) == (0, 0.0, False)
    levels = metrics["regression"]["levels"]
    assert [level["places"] for level in levels] == [[0], [1]] and metrics["regression"]["rows_shifted"] > 0
    assert metrics["held_out_loss"] == metrics["held_out_loss_regression"] < metrics["held_out_loss_before"]
    by_hand = held_out_by_hand(world, "grounded")
    for name in ("loss_to_tokens", "accuracy_level_0", "accuracy_level_1"):
        assert metrics[name] == pytest.approx(by_hand[name], abs=1e-5), name
    assert manifest.options["max_steps"] == 0 and manifest.options["directions"] == "to-tokens"
    assert manifest.run["regression_seconds"] > 0 and manifest.run["regression_passes"] == 4
    assert curve(world.workspace)["step"] == [0]
    (name,) = [name for name in load_file(world.workspace / "grounded" / "model.safetensors") if "embed" in name]
    assert_only_new_rows_changed(world.workspace, torch.tensor(world.tokens.ids), {name})


def test_an_untied_heads_rows_are_solved_for_and_the_input_rows_take_steps(
    make_world: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world("phi", tied=False)
    ids = torch.tensor(world.tokens.ids)
    ground(world.workspace, max_steps=0, **OPTIONS)
    assert "the input rows stay as they start" in capsys.readouterr().err
    assert_only_new_rows_changed(world.workspace, ids, {"lm_head.weight", "lm_head.bias"})
    manifest = ground(world.workspace, max_steps=3, force=True, **OPTIONS)
    assert "train the input rows, too" in capsys.readouterr().err
    assert_only_new_rows_changed(world.workspace, ids, {"lm_head.weight", "lm_head.bias", "model.embed_tokens.weight"})
    assert manifest.counts["steps"] == 3 and curve(world.workspace)["step"] == [0, 1, 2, 3]
    # The curve begins where the regression ended.
    assert curve(world.workspace)["held_out_loss"][0] == manifest.metrics["held_out_loss_regression"]


def test_where_nothing_is_held_out_it_says_what_is_used(make_world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world()
    manifest = ground(world.workspace, max_steps=0, **{**OPTIONS, "held_out": 0.0})
    assert "nothing is held out, so no pair can choose" in capsys.readouterr().err
    for level in manifest.metrics["regression"]["levels"]:
        assert level["strength"] == 3.0 and level["tried"] == [(10.0, None), (3.0, None)]
        assert level["held_out_loss"] is None


def test_a_kill_after_level_0_goes_on_with_level_1_to_the_same_bytes(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = make_world(name="whole"), make_world(name="broken")
    given = {**OPTIONS, "max_steps": 2}
    expected = ground(whole.workspace, **given)
    # The second world keeps hidden states in files.
    monkeypatch.setattr(regress, "BYTES_OF_STATES", {"cpu": 0})
    keep, kept = SavedLevels.keep, []

    def stop(self: SavedLevels, progress: Progress) -> None:
        """Keep, and stop the first time."""
        keep(self, progress)
        kept.append(len(progress.levels))
        if len(kept) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(SavedLevels, "keep", stop)
    with pytest.raises(KeyboardInterrupt):
        ground(broken.workspace, **given)
    assert not (broken.workspace / "grounded").exists()
    manifest = ground(broken.workspace, **given)
    assert kept == [1, 2]
    assert manifest.outputs == expected.outputs and manifest.metrics == expected.metrics
    assert expected.run["hidden_states_kept_in"] == "memory" and manifest.run["hidden_states_kept_in"] == "files"
    assert not list((broken.workspace / ".gti").rglob("*.states"))


LEVEL = FittedLevel([0], 4, 10, 0.1, 0.2, 0.3, 0.4, [(0.1, 0.4)], 5, 6, 1e-3, True)


class Prepared:
    """The task of a world, and a regression of which the solver and the ends are only asked."""

    def __init__(self, world: Any, scratch: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        given = {"solver": "regression", "directions": "to-tokens", "max_steps": 0, "held_out": 0.2, **options}
        self.job = job_of(world, **given)
        scratch.mkdir()
        names = {"counts": {}, "metrics": {}, "measured": {}, "work": scratch, "scratch": scratch, "resuming": True}
        self.run: Any = SimpleNamespace(**names)
        model, tokenizer = loaded(world)
        pairs = split_pairs(self.job, self.run, tokenizer)
        self.rows = NewRows(model, torch.tensor(world.tokens.ids))
        with self.rows.attached():
            self.task: Any = nll_task(self.job, self.run, model, self.rows, None, tokenizer, pairs)
        self.fitted: list[Any] = []
        self.shifted: list[Any] = []

        def fit(*given: Any, **more: Any) -> Progress:
            self.fitted.append((*given, more))
            given[0].spent.passes, given[0].spent.pass_seconds, given[0].spent.solver_seconds = 3, 1.5, 2.5
            return Progress(torch.zeros(1), [LEVEL])

        monkeypatch.setattr(regress, "fit_levels", fit)
        monkeypatch.setattr(regress, "shift_endings", lambda *given: self.shifted.append(given) or 7)

    def regress(self) -> None:
        with self.rows.attached():
            regress.regress(self.job, self.run, self.task)


def test_what_is_fitted_and_reported(make_world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = Prepared(make_world(), tmp_path / "scratch", monkeypatch, learning_rate=0.5)
    given.regress()
    train, held_out, rule, more = given.fitted[0]
    task, losses = given.task, given.task.measures.losses
    assert train.model is task.trained and rule == task.trained.rule
    assert train._answers == [example.answer for example in task.collator.corpus.examples]
    assert held_out.model is losses.trained and held_out.spent is train.spent
    assert held_out._answers == [losses.corpus.examples[n].answer for n in losses.numbers[TO_TOKENS]]
    assert (train._name, held_out._name) == ("training pairs", "held-out pairs")
    assert train._pad == held_out._pad == task.collator.pad
    assert more["resuming"] and isinstance(more["saved"], SavedLevels)
    more["saved"].keep(Progress(torch.ones(1)))
    assert (tmp_path / "scratch" / "regression.safetensors").is_file()
    # No distance between pretrained rows is known, so the ends are learned at the rate of gradient steps.
    assert given.shifted == [(task.trained, task.collator, 0.5, given.job.seed)]
    assert given.run.metrics == {"regression": {"levels": [asdict(LEVEL)], "rows_shifted": 7}}
    seconds = given.run.measured.pop("regression_seconds")
    assert 0 <= seconds < 60 and given.run.measured == {
        "examples_kept_in": "memory",
        "regression_pass_seconds": 1.5,
        "regression_solver_seconds": 2.5,
        "regression_passes": 3,
        "hidden_states_kept_in": "memory",
    }
    # With such a distance, its share; and states that just do not fit into memory go to files.
    given.run.metrics["pretrained_rows_spread"] = 2.0
    weight = given.rows.head.weight
    positions = sum(len(example.answer) for example in task.collator.corpus.examples)
    for room, kept in ((4, "memory"), (4 * weight.shape[1], "memory"), (4 * weight.shape[1] - 1, "files")):
        monkeypatch.setattr(regress, "BYTES_OF_STATES", {"cpu": room * positions if room > 4 else 2**40})
        given.regress()
        assert given.run.measured["hidden_states_kept_in"] == kept
        store, of_few = given.fitted[-1][0]._store, given.fitted[-1][1]._store
        folder = tmp_path / "scratch" / "hidden-states-0-of-1" if kept == "files" else None
        assert (store._folder, of_few._folder) == (folder, None)
        assert store.device == of_few.device == torch.device("cpu")
    assert given.shifted[-1][2] == pytest.approx(0.15 * 2.0)


@pytest.mark.parametrize(
    ("options", "tied", "said"),
    [
        ({}, True, []),
        (
            {"held_out": 0.0},
            True,
            ["nothing is held out, so no pair can choose how strongly the ridge pulls: its", "3"],
        ),
        ({}, False, ["the regression fits these, and the input rows stay as they start, for only gradient steps"]),
        (
            {"max_steps": 3},
            False,
            ["the regression fits these, and the gradient steps afterwards train the input rows"],
        ),
    ],
)
def test_what_is_said(
    options: dict[str, Any],
    tied: bool,
    said: list[str],
    make_world: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = Prepared(make_world("qwen3", tied=tied), tmp_path / "scratch", monkeypatch, **options)
    capsys.readouterr()
    given.regress()
    printed = " ".join(capsys.readouterr().err.split())
    assert all(part in printed for part in said) and bool(said) == bool(printed)
    assert bool(given.shifted) == tied and given.run.metrics["regression"]["rows_shifted"] == (7 if tied else 0)
    assert (given.fitted[0][1] is None) == (options.get("held_out") == 0.0)


def test_logits_that_follow_no_rule_are_refused(
    make_world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GroundingModel, "rule", None)
    world = make_world()
    given = Prepared(world, tmp_path / "scratch", monkeypatch)
    with pytest.raises(InputError, match="regression to solve") as caught:
        given.regress()
    assert str(caught.value) == (
        f"{given.job.checkpoint.path}: this model's logits are not those of its output head with a scale or a soft "
        "cap, so --solver regression has no regression to solve. Use --solver gradient."
    )
    with pytest.raises(InputError, match="has no regression to solve"):
        ground(world.workspace, **OPTIONS)
    assert not (world.workspace / "grounded").exists()


def test_a_device_without_float64_is_refused(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from gti_cli.checkpoints import devices

    monkeypatch.setattr(devices, "choose_device", lambda _: torch.device("mps"))
    with pytest.raises(InputError, match="float64, which the device mps does not have"):
        ground(make_world().workspace, **OPTIONS)
