"""Train small adapters with peft on a checkpoint of `gti`, and let `gti` read each: a row of Markdown for each adapter.

    python peft_adapters.py --workspace WORKSPACE --interactions TABLE [--checkpoint grounded]

Needs a workspace with Semantic IDs and the checkpoint, and the table of interactions; peft comes with `gti`. The
workspace is copied first and stays as it is. ``--steps`` and ``--users`` set how long an adapter trains and how many
users are evaluated. Each kind of adapter is trained on the checkpoint as it is, and on a copy whose head and embedding
are two matrices (``untied``).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

LAYERS = ["q_proj", "v_proj"]
HEAD_NOTE = "store another head"
COMMANDS = "evaluate, evaluate --merge-into, recommend, diagnose, finetune --from"


def kinds(new_ids: list[int]) -> dict[str, dict[str, Any]]:
    """Settings of `LoraConfig` for each kind of adapter."""
    return {
        "LoRA": {},
        "LoRA, trainable_token_indices": {"trainable_token_indices": new_ids},
        "LoRA, modules_to_save embed_tokens": {"modules_to_save": ["embed_tokens"]},
        "LoRA also on embed_tokens": {"target_modules": [*LAYERS, "embed_tokens"]},
    }


def sequences(workspace: Path, interactions: Path, tokenizer: Any, users: int) -> list[torch.Tensor]:
    """Token ids of the histories of some users, without their last two items, which are held out."""
    ids = pq.read_table(workspace / "semantic_ids.parquet").to_pydict()
    tokens_of = dict(zip(ids["item_id"], ids["tokens"], strict=True))
    table = pq.read_table(interactions).sort_by([("user_id", "ascending"), ("timestamp", "ascending")]).to_pydict()
    histories: dict[str, list[str]] = {}
    for user, item in zip(table["user_id"], table["item_id"], strict=True):
        histories.setdefault(user, []).append("".join(tokens_of.get(item, "")))
    texts = ["".join(items[:-2][-10:]) for items in histories.values() if len(items) > 4][:users]
    return [torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]


def train(checkpoint: Path, folder: Path, settings: dict[str, Any], examples: list[torch.Tensor], steps: int) -> None:
    """Train an adapter on the histories as plain text, and save it with the tokenizer."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    config = LoraConfig(**{"r": 8, "lora_alpha": 16, "target_modules": LAYERS, "task_type": "CAUSAL_LM", **settings})
    model = get_peft_model(base, config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    for step in range(steps):
        row = examples[step % len(examples)][None]
        model(input_ids=row, labels=row).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)


def difference(base: Path, adapter: Path, merged: Path, row: torch.Tensor) -> float:
    """Largest difference between logits of peft, with the adapter beside the model, and of the merged checkpoint."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        expected = PeftModel.from_pretrained(model, str(adapter)).eval()(input_ids=row).logits
        plain = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
        return float((plain(input_ids=row).logits - expected).abs().max())


def gti(workspace: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run a command of `gti`: exit code, its JSON, and what it said on stderr."""
    call = [sys.executable, "-m", "gti_cli", *arguments, "--json"]
    environment = {**os.environ, "GTI_WORKSPACE": str(workspace)}
    done = subprocess.run(call, capture_output=True, text=True, env=environment, check=False)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = {}
    return done.returncode, answer if isinstance(answer, dict) else {"list": answer}, done.stderr


def untie(source: Path, target: Path, *, config_ties: bool = False) -> None:
    """Write a copy whose head is a matrix of its own; with ``config_ties``, as LLaMA-Factory exports it."""
    shutil.copytree(source, target)
    model = AutoModelForCausalLM.from_pretrained(source)
    head = model.get_output_embeddings()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(head.weight.shape, generator=generator) * 1e-3 * head.weight.float().std()
    head.weight = torch.nn.Parameter((head.weight.float() + noise).to(head.weight.dtype))
    model.config.tie_word_embeddings = False
    model.save_pretrained(target)
    (target / "gti.json").unlink()  # its digests are those of the source
    if config_ties:
        config = json.loads((target / "config.json").read_text("utf-8"))
        (target / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}, indent=2), "utf-8")


def commands_on(
    workspace: Path, base: Path, adapter: Path, row: torch.Tensor, arguments: argparse.Namespace
) -> Iterator[tuple[int, str]]:
    """Run the commands on one adapter; the exit code of each, and what came out (the error line where it failed)."""
    shop = ["--interactions", str(arguments.interactions)]
    evaluate = ["evaluate", str(adapter), *shop, "--sample", str(arguments.users), "--baselines", "popularity"]
    merged, recall = f"merged-{adapter.name}", {}
    for where, more in (("in memory", []), ("merged", ["--merge-into", merged])):
        code, answer, said = gti(workspace, *evaluate, *more)
        recall[where] = answer.get("metrics", {}).get("metrics", {}).get("recall@10", float("nan"))
        outcome = f"recall@10 {recall[where]:.2f} {where}"
        if more and code == 0:
            outcome += f", logits within {difference(base, adapter, workspace / merged, row):.1g} of peft's"
        yield code, outcome if code == 0 else said
    item = pq.read_table(workspace / "semantic_ids.parquet", columns=["item_id"]).column(0)[0].as_py()
    code, answer, said = gti(workspace, "recommend", str(adapter), "--history", item, "--k", "3")
    listed = next((value for value in answer.values() if isinstance(value, list)), [])
    yield code, f"{len(listed)} items" if code == 0 else said
    code, answer, said = gti(workspace, "diagnose", str(adapter), arguments.checkpoint, "--name", f"d-{adapter.name}")
    tied = answer.get("metrics", {}).get(adapter.name, {}).get("tied")
    yield code, f"embedding and head are {'one' if tied else 'two'}" if code == 0 else said
    name, short = f"tuned-{adapter.name}", ["--max-steps", "2", "--targets", "last", "--valid-sample", "50"]
    code, answer, said = gti(workspace, "finetune", *shop, "--from", str(adapter), "--name", name, *short)
    loss = answer.get("metrics", {}).get("valid_loss_before", float("nan"))
    yield code, f"loss before training {loss:.2f}" if code == 0 else said


def commands_on_differing_head(workspace: Path, exported: Path, interactions: Path) -> Iterator[tuple[int, str]]:
    """Run the commands on a checkpoint whose head is not the embedding that its configuration ties it to."""
    item = pq.read_table(workspace / "semantic_ids.parquet", columns=["item_id"]).column(0)[0].as_py()
    shop = ["--interactions", str(interactions)]
    for command in (
        ["evaluate", str(exported), *shop, "--sample", "10"],
        ["recommend", str(exported), "--history", item],
        ["diagnose", str(exported)],
        ["finetune", *shop, "--from", str(exported), "--name", "tuned-head", "--max-steps", "2", "--targets", "last"],
    ):
        code, _, errors = gti(workspace, *command)
        says = "says that the stored head is used" if HEAD_NOTE in errors else "says nothing"
        yield code, f"{command[0]} {says}"


def main() -> None:
    """Train, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--checkpoint", default="grounded")
    parser.add_argument("--interactions", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--kinds", type=int, nargs="*", help="numbers of the kinds of adapters (default: all)")
    arguments = parser.parse_args()
    arguments.interactions = arguments.interactions.resolve()
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    print("| tool | version | what was done | exit code | what came out |\n|---|---|---|---|---|")

    def show(what: str, outcomes: Iterator[tuple[int, str]]) -> None:
        codes, texts = zip(*outcomes, strict=True)
        outcome = "; ".join(" ".join(text.split()) for text in texts)
        print(f"| peft | {version('peft')} | {what} | {' '.join(map(str, codes))} | {outcome} |", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        workspace = Path(shutil.copytree(arguments.workspace, Path(scratch) / "workspace"))
        checkpoint = workspace / arguments.checkpoint
        new_ids = pq.read_table(checkpoint / "new_tokens.parquet").column("id").to_pylist()
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        examples = sequences(workspace, arguments.interactions, tokenizer, arguments.users)
        untied = Path(scratch) / "untied"
        untie(checkpoint, untied)
        for number, (kind, settings) in enumerate(kinds(new_ids).items()):
            if arguments.kinds and number not in arguments.kinds:
                continue
            for state, base in (("as it is", checkpoint), ("untied", untied)):
                adapter = Path(scratch) / f"adapter-{number}-{base.name}"
                train(base, adapter, settings, examples, arguments.steps)
                show(
                    f"{kind}, on `{arguments.checkpoint}` {state}: {COMMANDS}",
                    commands_on(workspace, base, adapter, examples[0][None], arguments),
                )
        exported = Path(scratch) / "exported"
        untie(checkpoint, exported, config_ties=True)
        show(
            "none; a head that differs under `tie_word_embeddings: true`: evaluate, recommend, diagnose, finetune",
            commands_on_differing_head(workspace, exported, arguments.interactions),
        )


if __name__ == "__main__":
    main()
