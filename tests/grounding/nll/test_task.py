"""The pairs of a run and the task made of them: what trains, what is held out, and what is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gti_cli.errors import InputError
from gti_cli.grounding.held_out import hold_out
from gti_cli.grounding.nll import build_corpus as module
from gti_cli.grounding.nll import task as task_module
from gti_cli.grounding.nll.task import nll_task, split_pairs
from gti_cli.grounding.read_pairs import PairsTable, make_pairs, tokens_of_pairs
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.pair_prompts import TO_TOKENS, Pair, encode_pairs
from gti_cli.vocabulary.tokenizer import grow_tokenizer
from tests.support.grounding import job_of, loaded


def new_run() -> Any:
    """The part of a stage's run that receives figures."""
    return SimpleNamespace(counts={}, metrics={}, measured={}, work=Path("not-needed"))


def test_pairs_are_split_and_counted(make_world: Any) -> None:
    world = make_world()
    job, run = job_of(world, held_out=0.2, max_text_tokens=3), new_run()
    _, tokenizer = loaded(world)
    pairs = split_pairs(job, run, tokenizer)
    every, counts = make_pairs(job.table, tokenizer, 3)
    assert (pairs.train, pairs.held_out) == hold_out(every, 0.2, 0)
    numbers = {"train_pairs": len(pairs.train), "held_out_pairs": len(pairs.held_out), "tokens_without_pair": 0}
    assert run.counts == {**counts, **numbers}
    assert run.counts["texts_cut"] > 0


def test_early_stopping_needs_held_out_pairs(make_world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world()
    _, tokenizer = loaded(world)
    single = PairsTable({"text": ["red dress"]}, [world.items[0][2]], {"rows": 1})
    capsys.readouterr()
    with pytest.raises(InputError, match=r"too few pairs to hold any out\. Give several texts for the same tokens, or"):
        split_pairs(replace(job_of(world, patience=2), table=single), new_run(), tokenizer)
    assert split_pairs(job_of(world, patience=2, held_out=0.2), new_run(), tokenizer).held_out
    assert not split_pairs(job_of(world, held_out=0.0), new_run(), tokenizer).held_out
    assert "held out" not in capsys.readouterr().err  # for nothing was to be held out
    run = new_run()
    assert split_pairs(replace(job_of(world), table=single), run, tokenizer).held_out == []
    message = capsys.readouterr().err
    assert "no pair is held out" in message and f"{run.counts['tokens_without_pair']} of 7 new tokens" in message
    assert run.counts["tokens_without_pair"] == 5


@pytest.mark.parametrize("supported", [True, False])
def test_the_task_trains_on_one_part_and_measures_the_other(
    make_world: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], supported: bool
) -> None:
    world = make_world()
    job, run = job_of(world, held_out=0.2, directions="to-tokens", retrieval_sample=4), new_run()
    model, tokenizer = loaded(world)
    pairs = split_pairs(job, run, tokenizer)
    if not supported:
        monkeypatch.setattr(module, "has_plain_cache", lambda *_: False)
    rows = NewRows(model, torch.tensor(world.tokens.ids))
    with rows.attached():
        task = nll_task(job, run, model, rows, None, tokenizer, pairs)
        point, search = task.measures.curve_figures(), task.measures.retrieval_figures()
    assert task.collator.corpus.examples == encode_pairs(tokenizer, pairs.train, TO_TOKENS)
    assert run.measured == {"examples_kept_in": "memory"}
    assert task.trained.rows is rows and not task.tables
    assert task.measures.examples == run.counts["held_out_examples_to_tokens"] == len(pairs.held_out)
    assert {"held_out_loss", "loss_to_tokens", "accuracy_level_1", "effective_rank", "rsa_pearson"} <= point.keys()
    assert run.counts["retrieval_pairs"] == 4 and task.constant <= search.keys()
    assert not Counter(task.measures.searched) - Counter(pairs.held_out)
    note = f"{type(model).__name__} cannot continue from a stored prefix"
    assert (note in capsys.readouterr().err) == (not supported)


def test_pairs_that_are_written_with_spaces_are_counted(
    make_world: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world()
    _, tokenizer = loaded(world)
    asked: list[Any] = []
    monkeypatch.setattr(task_module, "keep_apart", lambda *given: asked.append(given) or (given[0], 1234))
    job, run = job_of(world, held_out=0.2), new_run()
    capsys.readouterr()
    divide, divided = task_module.hold_out, []
    monkeypatch.setattr(task_module, "hold_out", lambda *given: divided.append(given) or divide(*given))
    pairs = split_pairs(job, run, tokenizer)
    every, _ = make_pairs(job.table, tokenizer, job.options.max_text_tokens)
    assert asked == [(every, tokenizer, job.new_tokens.names)] and len(pairs.train) + len(pairs.held_out) == len(every)
    assert divided == [(every, 0.2, job.seed, tokens_of_pairs(every, job.new_tokens.names))]
    assert run.counts["pairs_with_spaces"] == 1234
    assert "1,234 pairs have new words side by side: they are written with a space" in capsys.readouterr().err


def test_the_task_with_adapters_and_with_a_divided_model(
    make_world: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world()
    job, run = job_of(world, held_out=0.2), new_run()
    model, tokenizer = loaded(world)
    pairs = split_pairs(job, run, tokenizer)
    rows, adapters = NewRows(model, torch.tensor(world.tokens.ids)), torch.nn.Linear(1, 1)
    build, asked = task_module.build_corpus, []
    monkeypatch.setattr(task_module, "how_kept", lambda examples: f"a list of {len(examples)}")
    monkeypatch.setattr(task_module, "build_corpus", lambda *given: asked.append(given) or build(*given))
    capsys.readouterr()
    with rows.attached():
        whole: Any = nll_task(job, run, model, rows, adapters, tokenizer, pairs)  # type: ignore[arg-type]
        sharded: Any = nll_task(
            replace(job, sharding="sharded"),
            run,
            model,
            rows,
            None,
            tokenizer,
            pairs,  # type: ignore[arg-type]
        )
    assert run.measured == {"examples_kept_in": f"a list of {2 * len(pairs.train)}"}
    files = [given[5] for given in asked]
    assert [given[2] for given in asked] == [None, rows] and files == [run.work / "train-pairs.arrow"] * 2
    assert "stored prefix" not in capsys.readouterr().err  # with adapters nothing is stored, whatever the model can do
    assert (whole.trained.adapters, sharded.trained.adapters) == (adapters, None)
    assert whole.measures.losses.trained.adapters is adapters
    assert whole.collator.pad == sharded.collator.pad == int(tokenizer.pad_token_id)
    assert not whole.collator([])["groups"] and sharded.collator([])["groups"]  # all processes run the model together
    assert whole.constant == {"retrieval_chance@1", "retrieval_chance@10"}


def test_words_side_by_side_are_kept_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """A word that `extend` made a whole word is not found in a longer one, so the pair is written with a space."""
    from gti_cli.grounding.read_pairs import keep_apart
    from tests.support.models import make_tokenizer

    tokenizer, names = make_tokenizer(), ["dre", "zorp", "<x>"]
    ids = dict(zip(names, grow_tokenizer(tokenizer, names).ids.tolist(), strict=True))
    tokens = ["drezorp", "zorp<x>", "dre", "zorpzorp"]
    pairs = [Pair(n, "text", "t", text) for n, text in enumerate(tokens)]
    written, changed = keep_apart(pairs, tokenizer, names)
    assert [pair.tokens for pair in written] == ["dre zorp", "zorp<x>", "dre", "zorpzorp"] and changed == 1
    found = tokenizer(written[0].tokens, add_special_tokens=False).input_ids
    assert [number for number in found if number in ids.values()] == [ids["dre"], ids["zorp"]]
    assert keep_apart(pairs, tokenizer, ["<x>"]) == (pairs, 0)
