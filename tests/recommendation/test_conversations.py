"""Export as chat: what other tools tokenise is what we train on, and a checkpoint that comes back can be evaluated."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gti_cli.app import run as gti
from gti_cli.errors import InputError
from gti_cli.evaluation.evaluate import evaluate
from gti_cli.prompts.chat import choose_prompt_form
from gti_cli.recommendation.conversations import export_conversations
from gti_cli.recommendation.finetune import finetune
from gti_cli.recommendation.options import TaskOptions
from tests.support.models import make_tokenizer
from tests.support.thinking import THINKING
from tests.support.trained_tokens import spread, trained_examples

ALL = TaskOptions(tasks=("next-item", "search", "lc-rec"), history=5)
# As Gemma 2's: no system message, and white space around messages is cut.
REFUSING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def trained_on(world: Any, tokenizer: Any) -> list[list[int]]:
    """Token ids of every example that finetune trains on: prompt, answer, end of the turn; by its own layout."""
    examples = trained_examples(world.workspace, world.interactions, world.queries, tokenizer, ALL)
    return [example.prompt + example.answer for _, example in examples]


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
    done = export_conversations(path, world.workspace, world.interactions, world.queries, options=ALL)
    tokenizer = AutoTokenizer.from_pretrained(world.workspace / "grounded")
    expected = trained_on(world, tokenizer)
    found = rows(path)
    assert len(found) == len(expected) == done.rows == done.behind and not done.otherwise
    assert done.longest == max(map(len, expected)) and (done.behind_text, done.end) == ("\n", "<|im_end|>")
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
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result.pop("longest") > 20
    assert result == {
        "output": str(path), "format": "messages", "rows": 16, "kinds": {"search": 16}, "otherwise": {},
        "behind_the_end": 16, "with_empty_thought": 0, "naming_tokens": 0, "longer_than_trl_takes": 0,
    }  # fmt: skip
    assert r"16 of 16 rows have '\n' behind <|im_end|>" in " ".join(said.err.split())
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
    assert gti([*other, "--format", "messages"]) == 2


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["--format", "chat"], "the format 'chat' is not known. Use messages or prompt-completion."),
        (["--training-template", "t.txt"], "the ending '.txt' is not known"),
        (["--training-template", "t.jinja", "--format", "prompt-completion"], "needs no training template"),
        (["--training-template", "no/t.jinja"], "no such folder"),
        (["--training-template", "old.jinja"], "the file is there already"),
    ],
)
def test_formats_that_are_refused(
    make_world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, given: list[str], problem: str
) -> None:
    world = make_world()
    monkeypatch.chdir(tmp_path)
    Path("old.jinja").write_text("mine")
    command = ["export", "conversations", "-w", str(world.workspace), "--queries", str(world.queries)]
    assert gti([*command, "-o", "chat.jsonl", *given]) == 2
    assert problem in " ".join(capsys.readouterr().err.split())
    assert not Path("chat.jsonl").exists() and Path("old.jinja").read_text() == "mine"


def with_template(world: Any, folder: Path, template: str | None) -> str:
    """A copy of the checkpoint with another chat template."""
    shutil.copytree(world.workspace / "grounded", folder)
    (folder / "chat_template.jinja").unlink()
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return str(folder)


def test_other_formats_have_the_tokens_and_the_loss_of_finetune(
    make_world: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world()
    checkpoint = with_template(world, tmp_path / "it", THINKING["qwen3"][0])
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tables = (world.workspace, world.interactions, world.queries)
    examples = [example for _, example in trained_examples(*tables, tokenizer, ALL)]
    expected = [example.prompt + example.answer for example in examples]
    text, chat, template = tmp_path / "text.parquet", tmp_path / "chat.jsonl", tmp_path / "it.jinja"
    done = [
        export_conversations(text, *tables, checkpoint=checkpoint, options=ALL, form="prompt-completion"),
        export_conversations(chat, *tables, checkpoint=checkpoint, options=ALL, template_file=template),
    ]
    assert all(one.rows == len(examples) and not one.otherwise for one in done)
    assert "other" not in capsys.readouterr().err
    found = pq.read_table(text).to_pydict()
    assert tokenizer(found["prompt"])["input_ids"] == [example.prompt for example in examples]
    both = [prompt + completion for prompt, completion in zip(found["prompt"], found["completion"], strict=True)]
    assert tokenizer(both)["input_ids"] == expected
    marked: Any = {"return_dict": True, "return_assistant_tokens_mask": True, "chat_template": template.read_text()}
    messages = [json.loads(line)["messages"] for line in chat.read_text().splitlines()]
    made = tokenizer.apply_chat_template(messages, **marked)
    assert made["input_ids"] == expected
    assert made["assistant_masks"] == [[0] * len(e.prompt) + [1] * len(e.answer) for e in examples]
    plain = export_conversations(tmp_path / "plain.jsonl", *tables, checkpoint=checkpoint, options=ALL)
    assert plain.thoughts == plain.behind == len(examples)
    assert f"{len(examples)} of {len(examples)} rows have an empty thought" in " ".join(capsys.readouterr().err.split())


def test_rows_that_trl_would_read_otherwise_are_counted(
    make_world: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world()
    checkpoint = with_template(world, tmp_path / "it", None)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tables = (world.workspace, world.interactions, world.queries)
    path = tmp_path / "text.jsonl"
    done = export_conversations(path, *tables, checkpoint=checkpoint, options=ALL, form="prompt-completion")
    # A plain prompt ends with a space, which joins the first word of an answer that is a text.
    expected: Counter[str] = Counter()
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for row, (kind, example) in zip(found, trained_examples(*tables, tokenizer, ALL), strict=True):
        ids = tokenizer(row["prompt"] + row["completion"])["input_ids"]
        expected[kind] += ids != example.prompt + example.answer
    assert done.otherwise == +expected and set(done.otherwise) == {"item->text", "items->title"}
    said = " ".join(capsys.readouterr().err.split())
    assert f"{expected['item->text']} of {done.kinds['item->text']} item->text" in said


@pytest.mark.parametrize("way", ["prompt-completion", "messages"])
def test_trl_itself_trains_on_the_tokens_of_finetune(make_world: Any, tmp_path: Path, way: str) -> None:
    trl = pytest.importorskip("trl", reason="TRL is not installed: pip install trl")
    world = make_world()
    path, template, source = tmp_path / "rows.jsonl", tmp_path / "it.jinja", world.workspace / "grounded"
    tokenizer = AutoTokenizer.from_pretrained(source)
    tables = (world.workspace, world.interactions, world.queries)
    more: dict[str, Any] = {"template_file": template} if way == "messages" else {}
    export_conversations(path, *tables, options=ALL, form=way, **more)
    examples = trained_examples(*tables, tokenizer, ALL)
    kinds = {kind: [n for n, (found, _) in enumerate(examples) if found == kind] for kind, _ in examples}
    kept = [group[n] for group in kinds.values() for n in spread(len(group), 50)]
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[n] for n in kept), encoding="utf-8")
    told = {"assistant_only_loss": True, "chat_template_path": str(template)} if way == "messages" else {}
    datasets = pytest.importorskip("datasets")
    trainer = trl.SFTTrainer(
        AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32),
        args=trl.SFTConfig(str(tmp_path / "out"), max_length=None, report_to=[], use_cpu=True, bf16=False, **told),
        train_dataset=datasets.load_dataset("json", data_files=str(path), cache_dir=str(tmp_path), split="train"),
        processing_class=tokenizer,
    )
    assert len(kinds) == 6 and len(trainer.train_dataset) == len(kept)
    for row, n in zip(trainer.train_dataset, kept, strict=True):
        example = examples[n][1]
        assert row["input_ids"] == example.prompt + example.answer
        assert row["labels"] == [-100] * len(example.prompt) + example.answer


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
