"""Export as chat: what other tools tokenise is what we train on, and a checkpoint that comes back can be evaluated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gti_cli.app import run as gti
from gti_cli.errors import InputError
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.prompts.chat import choose_prompt_form
from gti_cli.prompts.conversations import encode_conversations
from gti_cli.prompts.examples import Example
from gti_cli.prompts.next_item import encode_items, make_frame
from gti_cli.recommendation.conversations import export_conversations
from gti_cli.recommendation.finetune import finetune
from gti_cli.recommendation.options import TaskOptions
from gti_cli.recommendation.task_data import read_task_data
from gti_cli.recommendation.tasks import make_tasks
from gti_cli.training.batches.history_examples import HistoryExample, single_target_examples
from gti_cli.training.batches.history_packing import HistoryLayout
from gti_cli.workspace import Workspace
from tests.support.models import make_tokenizer
from tests.support.thinking import THINKING

ALL = TaskOptions(tasks=("next-item", "search", "lc-rec"), history=5)
# As Gemma 2's: no system message, and white space around messages is cut.
REFUSING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def trained_on(world: Any, tokenizer: Any) -> list[list[int]]:
    """Token ids of every example that finetune trains on: prompt, answer, end of the turn; by its own layout."""
    data = read_task_data(Workspace(world.workspace), world.interactions, world.queries, ALL.tasks)
    tokens = data.catalogue.tokens
    frames = [make_frame(tokenizer, tokens[0], wording) for wording in range(3)]
    layout = HistoryLayout(frames[0], encode_items(tokenizer, tokens, world.tokens), 2, 0, tuple(frames[1:]))
    found: list[Example] = []
    for task in make_tasks(data, tokenizer, ALL, 0):
        for example in task.train:
            if isinstance(example, HistoryExample):
                for single in single_target_examples(example):
                    answer = [*layout.item_token_ids[single.items[-1]].tolist(), layout.end_id]
                    found.append(Example(layout.prompt(single), answer))
            else:
                found += encode_conversations(tokenizer, [example])
    return [example.prompt + example.answer for example in found]


def rows(path: Path) -> list[dict[str, Any]]:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    kind = "json" if path.suffix == ".jsonl" else "parquet"
    return list(datasets.load_dataset(kind, data_files=str(path), cache_dir=str(path.parent / "cache"), split="train"))


def same_tokens(found: list[dict[str, Any]], expected: list[list[int]], tokenizer: Any, roles: list[str]) -> None:
    """The template makes of each row's messages the example that is trained on."""
    for row, ids in zip(found, expected, strict=True):
        messages = row["messages"]
        assert [message["role"] for message in messages] == roles
        options = row.get("chat_template_kwargs", {})
        whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **options)
        assert whole[: len(ids)] == ids
        assert tokenizer.decode(whole[len(ids) :]).strip() == ""  # what a template puts between turns


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_tokenised_by_the_template_it_is_what_finetune_trains_on(make_world: Any, tmp_path: Path, ending: str) -> None:
    world = make_world()
    path = tmp_path / f"chat{ending}"
    counts = export_conversations(path, world.workspace, world.interactions, world.queries, options=ALL)
    tokenizer = AutoTokenizer.from_pretrained(world.workspace / "grounded")
    expected = trained_on(world, tokenizer)
    found = rows(path)
    assert len(found) == len(expected) == counts["rows"] == sum(counts.values()) - counts["rows"]
    same_tokens(found, expected, tokenizer, ["system", "user", "assistant"])
    assert {row["task"] for row in found} == {"next-item", "search", "lc-rec"}


def test_a_template_without_system_messages_makes_of_it_what_finetune_trains_on(
    make_world: Any, tmp_path: Path
) -> None:
    world = make_world()
    folder, path = tmp_path / "refusing", tmp_path / "chat.jsonl"
    shutil.copytree(world.workspace / "grounded", folder)
    (folder / "chat_template.jinja").write_text(REFUSING)
    export_conversations(path, world.workspace, world.interactions, world.queries, checkpoint=str(folder), options=ALL)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    same_tokens(found, trained_on(world, tokenizer), tokenizer, ["user", "assistant"])


@pytest.mark.parametrize("family", ["r1", "smollm3", "qwen3-thinking"])
def test_reasoning_models_are_trained_on_what_others_render(
    make_world: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], family: str
) -> None:
    world = make_world()
    folder = tmp_path / family
    shutil.copytree(world.workspace / "grounded", folder)
    (folder / "chat_template.jinja").write_text(THINKING[family][0])
    paths = [tmp_path / "before.jsonl", tmp_path / "chat.parquet"]
    tables = (world.workspace, world.interactions, world.queries)
    export_conversations(paths[0], *tables, checkpoint=str(folder), options=ALL)
    # As trained before, an answer stands inside a thought that other tools do not open.
    assert ("other tools make other tokens" in capsys.readouterr().err) == (family != "smollm3")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    choose_prompt_form(tokenizer)
    tokenizer.save_pretrained(folder)
    export_conversations(paths[1], *tables, checkpoint=str(folder), options=ALL)
    said = capsys.readouterr().err
    assert "other tools make" not in said and ("chat_template_kwargs" in said) == (family == "smollm3")
    same_tokens(rows(paths[1]), trained_on(world, tokenizer), tokenizer, ["system", "user", "assistant"])


def test_same_seed_same_rows_and_weights_change_none(make_world: Any, tmp_path: Path) -> None:
    world = make_world()
    paths = [tmp_path / f"{n}.parquet" for n in range(4)]
    weighted = TaskOptions(tasks=("next-item:3", "search", "lc-rec"), history=5)
    for path, options, seed in zip(paths, (ALL, ALL, weighted, ALL), (0, 0, 0, 1), strict=True):
        export_conversations(path, world.workspace, world.interactions, world.queries, options=options, seed=seed)
    contents = [path.read_bytes() for path in paths]
    assert contents[0] == contents[1] == contents[2] != contents[3]


def test_command(make_world: Any, tmp_path: Path, capsys: Any) -> None:
    world = make_world()
    path = tmp_path / "chat.jsonl"
    command = ["export", "conversations", "-w", str(world.workspace), "-o", str(path), "--queries", str(world.queries)]
    assert gti([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"output": str(path), "rows": 16, "kinds": {"search": 16}}
    assert gti(command) == 2 and "there already" in capsys.readouterr().err
    assert gti([*command, "--force", "--tasks", "search:2"]) == 0
    said = capsys.readouterr()
    assert "axolotl" in said.out and "each row is written once" in said.err
    assert gti([*command[:-2], "--force"]) == 2 and "nothing to train on" in capsys.readouterr().err
    other = [*command, "--force"]
    other[1] = "index"
    assert gti(other) == 2 and "index takes no tables" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"ending '.txt' is not known"):
        export_conversations(tmp_path / "chat.txt", world.workspace, world.interactions)


def test_a_checkpoint_that_comes_back_from_elsewhere_is_evaluated(make_world: Any, tmp_path: Path) -> None:
    world = make_world()
    finetune(world.interactions, world.workspace, max_steps=3, batch_size=16, history=20, device="cpu", dtype="float32")
    ours, back = world.workspace / "finetuned", tmp_path / "back"
    AutoModelForCausalLM.from_pretrained(ours, dtype=torch.float32).save_pretrained(back)
    AutoTokenizer.from_pretrained(ours).save_pretrained(back)
    assert not {file.name for file in back.iterdir()} & {"gti.json", "new_tokens.parquet"}
    how: dict[str, Any] = {"k": [5, 10], "device": "cpu", "dtype": "float32"}
    expected = evaluate(world.interactions, world.workspace, **how)
    found = evaluate(world.interactions, world.workspace, checkpoint=str(back), **how)
    assert found.metrics["metrics"] == expected.metrics["metrics"]
    # One whose tokenizer knows no codes is still refused.
    plain = tmp_path / "plain"
    AutoModelForCausalLM.from_pretrained(ours).save_pretrained(plain)
    make_tokenizer().save_pretrained(plain)
    with pytest.raises(InputError, match="no new tokens that gti knows of"):
        evaluate(world.interactions, world.workspace, checkpoint=str(plain), **how)
