"""Semantic IDs in OpenOneRec's names, all the way from the items to lists, and what an engine reads of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gti_cli import tables
from gti_cli.app import run
from gti_cli.checkpoints.new_tokens import find_code_tokens, read_new_tokens
from gti_cli.errors import InputError
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.grounding.ground import ground
from gti_cli.prompts.next_item import encode_history
from gti_cli.recommendation.finetune import finetune
from gti_cli.recommendation.recommend import recommend
from gti_cli.semantic_ids.build import build_ids
from gti_cli.tables import read_semantic_ids
from gti_cli.vocabulary.extend import extend
from tests.support.models import make_model, make_tokenizer
from tests.support.semantic_ids import make_items

NAME = re.compile(r"<\|sid_begin\|><s_a_\d+><s_b_\d+><s_c_\d+><\|sid_end\|>")
CODES = 8


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A workspace with IDs in this style and ``extended``, ``grounded``, ``finetuned``; and a table of interactions."""
    folder = tmp_path_factory.mktemp("onerec")
    space = folder / "ws"
    build_ids(make_items(folder), space, levels=3, codes=CODES, token_style="onerec")
    tokenizer = make_tokenizer()
    make_model("qwen3", len(tokenizer)).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    extend(str(folder / "base"), space, init="text", device="cpu")
    grounded = ground(space, max_steps=3, retrieval_sample=10, device="cpu")
    items = read_semantic_ids(space / "semantic_ids.parquet").item_ids
    rng = np.random.default_rng(0)
    rows = [(f"u{user}", items[item], time) for user in range(12) for time, item in enumerate(rng.choice(80, 6))]
    columns = dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True))
    tables.write(folder / "interactions.parquet", columns)
    finetune(folder / "interactions.parquet", space, max_steps=2, validations=1, device="cpu")
    return SimpleNamespace(space=space, folder=folder, items=items, grounded=grounded)


def test_names_and_ids(world: Any) -> None:
    ids = read_semantic_ids(world.space / "semantic_ids.parquet")
    assert all(NAME.fullmatch(tokens) for tokens in ids.tokens)
    assert [list(map(int, re.findall(r"_(\d+)>", tokens))) for tokens in ids.tokens] == ids.codes.tolist()
    tokens = read_new_tokens(world.space / "extended")
    first = int(tokens.ids[0])
    expected = [f"<s_{letter}_{code}>" for letter in "abc" for code in range(CODES)]
    assert tokens.names == [*expected, "<|sid_begin|>", "<|sid_end|>"]
    assert tokens.ids.tolist() == list(range(first, first + 3 * CODES + 2))
    assert tokens.levels[-2:].tolist() == tokens.codes[-2:].tolist() == [-1, -1]


def test_a_checkpoint_without_our_list_is_read_by_its_names(world: Any) -> None:
    listed = read_new_tokens(world.space / "extended")
    found = find_code_tokens({"word": 0, **dict(zip(listed.names[::-1], listed.ids[::-1].tolist(), strict=True))})
    assert found is not None and found.names == listed.names
    for mine, theirs in ((found.ids, listed.ids), (found.levels, listed.levels), (found.codes, listed.codes)):
        assert mine.tolist() == theirs.tolist() and mine.dtype == theirs.dtype


def test_begin_and_end_start_from_the_mean_and_train(world: Any) -> None:
    new = read_new_tokens(world.space / "extended").ids
    before, after = (
        load_file(world.space / name / "model.safetensors")["model.embed_tokens.weight"]
        for name in ("extended", "grounded")
    )
    mean = before[: int(new[0])].double().mean(0)
    for row in new[-2:]:
        assert torch.allclose(before[row].double(), mean, atol=1e-6)
        assert not torch.equal(before[row], after[row])
    # The codes alone are what figures are about.
    values = torch.linalg.svdvals(after[new[:-2].tolist()].double())
    share = values / values.sum()
    rank = float(torch.exp(-(share * share.log()).sum()))
    assert world.grounded.metrics["effective_rank"] == pytest.approx(rank, rel=1e-4)


def test_lists_are_scored_as_the_model_scores_them_behind_the_begin(world: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = read_semantic_ids(world.space / "semantic_ids.parquet")
    of = dict(zip(ids.item_ids, ids.tokens, strict=True))
    tokenizer = AutoTokenizer.from_pretrained(world.space / "finetuned")
    model = AutoModelForCausalLM.from_pretrained(world.space / "finetuned").eval()
    history = world.items[3:6]
    found = recommend(world.space, histories={"me": history}, k=5, device="cpu")
    prompt = encode_history(tokenizer, [of[item] for item in history])
    for line in found:
        answer = tokenizer(of[line.item_id], add_special_tokens=False)["input_ids"]
        assert tokenizer.decode([*answer]) == of[line.item_id]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
        score = sum(float(logits[len(prompt) + n - 1, answer[n]]) for n in (1, 2, 3))
        assert line.score == pytest.approx(score, abs=1e-4)
    everything = recommend(world.space, histories={"me": history}, k=80, device="cpu")
    assert {line.item_id for line in everything} == set(world.items)


def test_evaluation_diagnosis_and_status(world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    beam, exact = (
        evaluate(
            world.folder / "interactions.parquet",
            world.space,
            k=(5,),
            beams=80,
            search=search,
            name=search,
            device="cpu",
        )
        for search in ("beam", "exact")
    )
    assert beam.metrics["metrics"]["recall@5"] == exact.metrics["metrics"]["recall@5"]
    assert run(["diagnose", "extended", "grounded", "-w", str(world.space), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["metrics"]
    assert told["grounded"]["effective_rank"] == pytest.approx(world.grounded.metrics["effective_rank"], rel=1e-3)
    assert told["grounded"]["rsa_pearson"] == pytest.approx(world.grounded.metrics["rsa_pearson"], abs=1e-4)
    assert run(["status", "-w", str(world.space)]) == 0
    assert "stale" not in capsys.readouterr().out


def test_exports_and_the_layout_that_flashrec_works_out(
    world: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["-w", str(world.space)]
    catalog, index = tmp_path / "catalog.json", tmp_path / "index.json"
    assert run(["export", "catalog", "finetuned", "-o", str(catalog), *where, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["command"].endswith(f"--sid-vocab-file {catalog}") and not printed.err
    assert run(["export", "index", "-o", str(index), *where]) == 0
    ids = read_semantic_ids(world.space / "semantic_ids.parquet")
    names = json.loads(index.read_text("utf-8"))
    assert ["".join(names[item]) for item in ids.item_ids] == [tokens[13:-11] for tokens in ids.tokens]
    for style, part in (("lc-rec", "<a_"), ("onerec", "<s_a_")):
        build_ids(make_items(tmp_path), tmp_path / style, import_index=index, token_style=style)
        again = read_semantic_ids(tmp_path / style / "semantic_ids.parquet")
        assert (again.codes == ids.codes).all() and part in again.tokens[0]
    flashrec = pytest.importorskip("flashrec.sid_layout", reason="the package flashrec is not installed")
    found = flashrec.infer_sid_layout(str(world.space / "finetuned"), str(catalog))
    new = read_new_tokens(world.space / "finetuned").ids.tolist()
    assert found.token_range == f"{new[0]}:{new[-3]}" and found.codebook_sizes == "8,8,8"
    assert found.boundary_tokens == f"{new[-2]},{new[-1]}"


def test_new_items_keep_the_style(world: Any, tmp_path: Path) -> None:
    build_ids(make_items(tmp_path), tmp_path / "ws", levels=3, codes=CODES, token_style="onerec")
    more = make_items(tmp_path, 84, "more.parquet")
    table = tables.read(more).slice(80)
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    tables.write(more, columns)
    with pytest.raises(InputError, match="--token-style lc-rec is not what"):
        build_ids(more, tmp_path / "ws", reuse=True, token_style="lc-rec")
    build_ids(more, tmp_path / "ws", reuse=True)
    ids = read_semantic_ids(tmp_path / "ws" / "semantic_ids.parquet")
    assert len(ids.tokens) == 84 and all(NAME.fullmatch(tokens) for tokens in ids.tokens)
