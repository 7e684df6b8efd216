"""Fine-tuning with a behaviour prior: what is written, resumed and measured."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.nn import functional
from transformers import AutoModelForCausalLM

from gti_cli import tables
from gti_cli.checkpoints.finding import find_checkpoint
from gti_cli.checkpoints.loading import load_model, load_tokenizer
from gti_cli.checkpoints.new_tokens import code_ids
from gti_cli.checkpoints.saving import PRIOR_FILE
from gti_cli.decoding.beam import TrieTensors
from gti_cli.decoding.candidate_scores import CandidateLists, score_items
from gti_cli.decoding.trie import build_trie
from gti_cli.errors import InputError
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.priors.stored_prior import load_prior, read_prior
from gti_cli.prompts.next_item import encode_items, make_frame
from gti_cli.recommendation.finetune import finetune
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import digest_path

CPU = torch.device("cpu")
FEW: dict[str, Any] = {
    "prior": "item-knn",
    "max_steps": 20,
    "batch_size": 16,
    "learning_rate": 3e-3,
    "device": "cpu",
    "dtype": "float32",
    "validations": 4,
}


def test_a_resumed_run_equals_an_unbroken_one(make_world: Any, resumed: Any) -> None:
    # The best weights are those of step 5, before the interruption: they are kept and read again, the prior's among them.
    world = make_world()
    other = world.workspace.with_name("unbroken")
    shutil.copytree(world.workspace, other)
    whole = finetune(world.interactions, other, **FEW)
    result = world.workspace / "finetuned"
    found = resumed(lambda: finetune(world.interactions, world.workspace, **FEW), result)
    assert digest_path(result, skip="gti.json") == digest_path(other / "finetuned", "gti.json")
    assert (result / PRIOR_FILE).read_bytes() == (other / "finetuned" / PRIOR_FILE).read_bytes()
    assert found.metrics == whole.metrics


@pytest.fixture
def tuned(make_world: Any) -> tuple[Any, Any]:
    world = make_world()
    return world, finetune(world.interactions, world.workspace, **FEW)


def test_the_checkpoint_is_a_plain_one_with_the_prior_beside_it(
    tuned: tuple[Any, Any], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    world, manifest = tuned
    folder: Path = world.workspace / "finetuned"
    with safe_open(folder / "model.safetensors", "pt") as file:
        stored = set(file.keys())
    with safe_open(world.workspace / "grounded" / "model.safetensors", "pt") as file:
        assert stored == set(file.keys())
    capsys.readouterr()
    with caplog.at_level(logging.WARNING):
        _, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    assert not caplog.records and "behaviour_prior" not in capsys.readouterr().err
    row_of = {f"i{n}": n for n in range(30)}
    prior = read_prior(folder, row_of)
    assert prior is not None
    # The weights were learned: all of them have moved, each in its own way.
    assert (np.abs(prior.weights - 0.7) > 1e-3).all() and len(set(prior.weights.tolist())) == 3
    assert manifest.metrics["prior_weights"] == pytest.approx(prior.weights.tolist(), abs=1e-6)
    assert manifest.details["behaviour_prior"] == "item-knn"
    assert manifest.metrics["prior"]["ndcg@10"] > 0
    assert manifest.options["prior"] == "item-knn"


def test_validation_and_search_agree(tuned: tuple[Any, Any]) -> None:
    world, manifest = tuned
    folder = str(world.workspace / "finetuned")
    catalogue = tables.read_semantic_ids(world.workspace / "semantic_ids.parquet")
    checkpoint = find_checkpoint(Workspace(world.workspace), None, "finetuned", "")
    trie, ids = build_trie(catalogue.codes), code_ids(world.tokens, [4, 3, 5])
    prior = load_prior(checkpoint, catalogue.row_of(), trie, ids, CPU)
    assert prior is not None
    model, tokenizer = load_model(folder, CPU, torch.float32), load_tokenizer(folder)
    frame = make_frame(tokenizer, catalogue.tokens[0])
    item_ids = encode_items(tokenizer, catalogue.tokens, world.tokens).tolist()
    # The validation item is the last but one; users with three items or more have one.
    entries = [rows[:-1] for rows in world.histories.values() if len(rows) >= 3]
    prompts = [frame.search_prompt([item_ids[row] for row in rows[:-1]]) for rows in entries]
    behind = prior.model.behind(prior.masses([rows[:-1] for rows in entries])[range(len(entries))])
    lists = CandidateLists.of([[rows[-1]] for rows in entries])
    tensors = TrieTensors(trie, ids, CPU)
    scores = score_items(model, prompts, tensors, lists, pad_id=int(tokenizer.pad_token_id), prior=behind)
    # The loss has one token more than the score: the end of the answer, to which the prior adds nothing.
    total = -float(scores.sum())
    for prompt, rows in zip(prompts, entries, strict=True):
        logits = model(torch.tensor([[*prompt, *item_ids[rows[-1]]]])).logits[0, -1]
        total += float(functional.cross_entropy(logits, torch.tensor(tokenizer.convert_tokens_to_ids("<|im_end|>"))))
    assert manifest.metrics["valid_loss"] == pytest.approx(total / (4 * len(entries)), rel=1e-5)

    evaluated = evaluate(
        world.interactions,
        world.workspace,
        split="valid",
        k=(10,),
        beams=20,
        baselines=(),
        device="cpu",
        dtype="float32",
    )
    assert evaluated.metrics["metrics"]["ndcg@10"] == pytest.approx(manifest.metrics["valid_ndcg@10"], abs=1e-9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prior": "sasrec"}, "--prior is 'sasrec'. Use none or item-knn"),
        ({"prior": "item-knn", "lora": True}, "--prior does not train together with --lora"),
        ({"prior": "item-knn", "tasks": ("lc-rec",)}, "is about histories"),
    ],
)
def test_refuses_what_it_cannot_do(make_world: Any, options: dict[str, Any], words: str) -> None:
    world = make_world()
    with pytest.raises(InputError, match=words):
        finetune(world.interactions, world.workspace, **options)
    assert not (world.workspace / "finetuned").exists()
