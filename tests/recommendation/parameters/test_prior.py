"""Fine-tuning with a behaviour prior: what is written, resumed and measured."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModelForCausalLM

from gti_cli import tables
from gti_cli.baselines import sasrec_tuning
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
from gti_cli.prompts.prompt_file import PROMPT_FILE
from gti_cli.recommendation.finetune import finetune
from gti_cli.recommendation.parameters.prior import other_prior
from gti_cli.workspace import Workspace
from gti_cli.workspace.manifest import digest_path
from tests.support.baselines import QUICK

CPU = torch.device("cpu")
FEW: dict[str, Any] = {
    "prior": "item-knn+sasrec",
    "max_steps": 12,
    "batch_size": 16,
    "learning_rate": 3e-3,
    "device": "cpu",
    "dtype": "float32",
    "validations": 2,
}


def test_a_run_with_a_prior(
    make_world: Any,
    resumed: Any,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One run, interrupted and resumed beside an unbroken one; then what it wrote. (Runs take time: hence one test.)"""
    for name, value in QUICK.items():
        monkeypatch.setattr(sasrec_tuning, name, value)
    # The best weights are those of a step before the interruption: they are kept and read again, the prior's, too.
    world = make_world()
    other = world.workspace.with_name("unbroken")
    shutil.copytree(world.workspace, other)
    whole = finetune(world.interactions, other, **FEW)
    result = world.workspace / "finetuned"
    found = resumed(lambda: finetune(world.interactions, world.workspace, **FEW), result)
    assert digest_path(result, skip="gti.json") == digest_path(other / "finetuned", "gti.json")
    assert (result / PRIOR_FILE).read_bytes() == (other / "finetuned" / PRIOR_FILE).read_bytes()
    assert found.metrics == whole.metrics
    check_the_checkpoint_is_a_plain_one(world, found, caplog, capsys)
    check_validation_and_search_agree(world, found)
    check_going_on_with_and_without(world, found, capsys)


def test_a_run_with_a_prior_and_adapters(make_world: Any, resumed: Any) -> None:
    """Interrupted and resumed beside an unbroken run: the Trainer's checkpoint holds the prior's weights, too."""
    world = make_world()
    other = world.workspace.with_name("unbroken")
    shutil.copytree(world.workspace, other)
    options = {**FEW, "prior": "item-knn", "lora": True, "lora_r": 2}
    whole = finetune(world.interactions, other, **options)
    result = world.workspace / "finetuned"
    found = resumed(lambda: finetune(world.interactions, world.workspace, **options), result)
    assert digest_path(result, skip="gti.json") == digest_path(other / "finetuned", "gti.json")
    assert found.metrics == whole.metrics
    grounded = load_file(world.workspace / "grounded" / "model.safetensors")
    finetuned = load_file(result / "model.safetensors")
    assert finetuned.keys() == grounded.keys()  # a plain checkpoint: adapters are merged
    old = np.setdiff1d(np.arange(len(grounded["model.embed_tokens.weight"])), world.tokens.ids)
    assert torch.equal(finetuned["model.embed_tokens.weight"][old], grounded["model.embed_tokens.weight"][old])
    prior = read_prior(result, {f"i{n}": n for n in range(30)})
    assert prior is not None and prior.prior.name == found.details["behaviour_prior"] == "item-knn"
    assert (np.abs(prior.weights - 0.7) > 1e-3).all() and len(set(prior.weights.tolist())) == 3
    assert found.metrics["prior_weights"] == pytest.approx(prior.weights.tolist(), abs=1e-6)
    check_validation_and_search_agree(world, found)


def check_going_on_with_and_without(world: Any, manifest: Any, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    again = {**FEW, "from_": "finetuned", "max_steps": 1, "learning_rate": 1e-6, "validations": 0}
    without = finetune(world.interactions, world.workspace, name="without", **{**again, "prior": "none"})
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "finetuned was trained with a behaviour prior, and this run trains without: add --prior item-knn+sasrec" in said
    )
    assert "behaviour_prior" not in without.details
    assert not (world.workspace / "without" / PRIOR_FILE).exists()
    with_prior = finetune(world.interactions, world.workspace, name="with", **again)
    assert "trains without" not in capsys.readouterr().err
    # It goes on from the weights that the model was trained with.
    assert with_prior.metrics["prior_weights"] == pytest.approx(manifest.metrics["prior_weights"], abs=1e-5)
    # Weights of another prior are no start.
    other = finetune(world.interactions, world.workspace, name="other", **{**again, "prior": "item-knn"})
    assert "trained with the prior item-knn+sasrec, and this run trains with item-knn" in " ".join(
        capsys.readouterr().err.split()
    )
    assert other.metrics["prior_weights"] == pytest.approx([0.7] * 3, abs=1e-5)


def test_the_start_of_every_channel_is_said() -> None:
    assert other_prior("tuned", "sasrec", "item-knn", [0.7]).endswith("of its levels start at 0.7")
    said = other_prior("tuned", "sasrec", "item-knn+content-knn", [0.7, 0.35])
    assert said.endswith("of its levels start at 0.7, 0.35 (channel by channel)")


def check_the_checkpoint_is_a_plain_one(
    world: Any, manifest: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert manifest.details["behaviour_prior"] == "item-knn+sasrec"
    assert all(manifest.metrics["prior"][member]["ndcg@10"] > 0 for member in ("item-knn", "sasrec"))
    assert manifest.options["prior"] == "item-knn+sasrec"
    assert "It was trained with a behaviour prior (item-knn+sasrec)" in (folder / "README.md").read_text("utf-8")
    question = json.loads((folder / PROMPT_FILE).read_text("utf-8"))["next-item"]
    assert question["prior"]["file"] == PRIOR_FILE
    # Serving engines take all safetensors in the folder itself for weights.
    assert [file.name for file in folder.glob("*.safetensors")] == ["model.safetensors"]


@torch.no_grad()
def check_validation_and_search_agree(world: Any, manifest: Any) -> None:
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
        ({"prior": "bm25"}, "--prior is 'bm25'. Use none, or one or more of item-knn, sasrec, content-knn"),
        ({"prior": "item-knn", "tasks": ("lc-rec",)}, "is about histories"),
        ({"prior": "item-knn+content-knn", "max_steps": 1}, "compares embeddings of items, and the workspace has none"),
    ],
)
def test_refuses_what_it_cannot_do(make_world: Any, options: dict[str, Any], words: str) -> None:
    world = make_world()
    with pytest.raises(InputError, match=words):
        finetune(world.interactions, world.workspace, **options)
    assert not (world.workspace / "finetuned").exists()
