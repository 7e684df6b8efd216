"""Small models and examples for the tests of grounding, and Algorithm 1 as the paper writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional

from gti_cli.checkpoints.finding import find_checkpoint
from gti_cli.checkpoints.loading import load_model, load_tokenizer
from gti_cli.grounding.held_out import hold_out
from gti_cli.grounding.job import GroundingJob
from gti_cli.grounding.options import GroundOptions
from gti_cli.grounding.read_pairs import make_pairs, read_pairs
from gti_cli.grounding.retrieval import ItemIndex
from gti_cli.prompts.examples import Example, collate
from gti_cli.prompts.pair_prompts import TO_TEXT, TO_TOKENS, encode_pairs
from gti_cli.training.trainer import PlannedTrainer
from gti_cli.workspace import Workspace
from tests.support.models import make_model

OLD, NEW, PAD = 60, 12, 0
VOCAB = OLD + NEW
NEW_IDS = torch.arange(OLD, VOCAB)
# Templates with a common beginning each; the second direction ends its prompt with new tokens.
PREFIXES = ([5, 6, 7, 8], [5, 6, 9], [5, 10, 11, 12, 13])


def model_of(kind: str, tied: bool = True, seed: int = 0, **more: Any) -> Any:
    """A random float32 model with `VOCAB` rows; biases too are random."""
    return make_model(kind, VOCAB, tied=tied, seed=seed, biased=True, max_position_embeddings=128, **more)


def examples_of(count: int, seed: int = 0) -> tuple[list[Example], list[int], list[int]]:
    """Random examples in both directions: (examples, templates, groups)."""
    rng = np.random.default_rng(seed)
    examples, templates = [], []
    for _ in range(count):
        text = rng.integers(14, OLD, rng.integers(1, 9)).tolist()
        tokens = rng.integers(OLD, VOCAB, 3).tolist()
        template = int(rng.integers(3))
        after = [3, 4]
        if template < 2:
            examples.append(Example([*PREFIXES[template], *text, *after], [*tokens, 2]))
        else:
            examples.append(Example([*PREFIXES[template], *tokens, *after], [*text, 2]))
        templates.append(template)
    return examples, templates, [int(template == 2) for template in templates]


def masked_loss(model: Any, examples: list[Example]) -> torch.Tensor:
    """Mean negative log-likelihood of the answers' tokens, by the model's own forward on whole sequences."""
    batch = collate(examples, PAD)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), batch["labels"][:, 1:].flatten())


def algorithm_1(model: Any, batches: list[list[Example]], rate: float) -> list[float]:
    """Train in place: Adam on the whole matrices (and head bias), the gradient of old rows set to zero."""
    head = model.get_output_embeddings()
    trained = {id(p): p for p in (model.get_input_embeddings().weight, head.weight)}
    if getattr(head, "bias", None) is not None:
        trained[id(head.bias)] = head.bias
    model.requires_grad_(False)
    for parameter in trained.values():
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(list(trained.values()), lr=rate)
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        loss = masked_loss(model, batch)
        loss.backward()
        for parameter in trained.values():
            parameter.grad[:OLD] = 0
        optimizer.step()
        losses.append(loss.item())
    return losses


MODELS = [
    ("qwen3", True),
    ("qwen3", False),
    ("llama", True),
    ("mistral", False),
    ("gemma", True),
    ("gemma2", True),
    ("gemma3_text", True),
    ("gpt2", True),
    ("gpt_neox", False),
    ("opt", True),
    ("phi", False),
    ("cohere", True),
]


def interrupt(monkeypatch: pytest.MonkeyPatch, method: str, at: int) -> list[int]:
    """Ctrl-C at the ``at``-th call of a method of the Trainer; returns the calls."""
    original, calls = getattr(PlannedTrainer, method), []

    def stop(self: Any, *args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return original(self, *args, **more)

    monkeypatch.setattr(PlannedTrainer, method, stop)
    return calls


def held_out_by_hand(world: Any, checkpoint: str) -> dict[str, float]:
    """Losses and accuracies of the held-out pairs, one example at a time by the model's own forward."""
    path = str(world.workspace / checkpoint)
    model, tokenizer = load_model(path, torch.device("cpu"), torch.float32), load_tokenizer(path)
    texts = read_pairs(
        world.workspace / "items.parquet", {item: tokens for item, _, tokens in world.items}, world.tokens.names
    )
    _, held = hold_out(make_pairs(texts, tokenizer, 128)[0], 0.2, 0)
    figures: dict[str, float] = {}
    for direction, key in ((TO_TOKENS, "loss_to_tokens"), (TO_TEXT, "loss_to_text")):
        losses: list[float] = []
        right: dict[int, list[bool]] = {0: [], 1: []}
        for example in encode_pairs(tokenizer, held, direction):
            with torch.no_grad():
                logits = model(torch.tensor([example.prompt + example.answer])).logits[0].log_softmax(-1)
            for n, token in enumerate(example.answer):
                row = logits[len(example.prompt) - 1 + n]
                losses.append(-float(row[token]))
                if direction == TO_TOKENS and n < 2:
                    right[n].append(int(row.argmax()) == token)
        figures[key] = float(np.mean(losses))
        if direction == TO_TOKENS:
            figures |= {f"accuracy_level_{n}": float(np.mean(values)) for n, values in right.items()}
    return figures


def curve(workspace: Path) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = pq.read_table(workspace / "grounded" / "trajectory.parquet").to_pydict()
    return columns


def manifest_of(workspace: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((workspace / "grounded" / "gti.json").read_text())
    return manifest


def assert_same_curves(one: Path, two: Path) -> None:
    mine, theirs = curve(one), curve(two)
    assert mine["step"] == theirs["step"]
    for name in mine:
        a, b = mine[name], theirs[name]
        assert [x is None for x in a] == [x is None for x in b]
        values = [[x for x in column if x is not None] for column in (a, b)]
        assert np.allclose(*values, atol=1e-4, rtol=0), (name, values)


PHRASES = {"<frock>": "red evening dress", "<trench>": "grey wool coat", "boots": "leather ankle boots"}


def job_of(world: Any, **options: Any) -> GroundingJob:
    """A job that starts from a world's checkpoint ``extended``, in float32 on the CPU."""
    space = Workspace(world.workspace)
    tokens_of_item = {item: tokens for item, _, tokens in world.items}
    base = int(world.tokens.ids[0])
    codes = np.asarray([(n // 4, n % 4) for n in range(len(world.items))], np.int32)
    code_ids = [np.arange(base, base + 3), np.arange(base + 3, base + 7)]
    return GroundingJob(
        checkpoint=find_checkpoint(space, None, "extended", "gti extend"),
        new_tokens=world.tokens,
        table=read_pairs(world.workspace / "items.parquet", tokens_of_item, world.tokens.names),
        item_index=ItemIndex(codes, [tokens for _, _, tokens in world.items], code_ids),
        options=GroundOptions(**{"directions": "both", **options}),
        seed=0,
        device=torch.device("cpu"),
        dtype=torch.float32,
        codebooks=world.workspace / "codebooks.safetensors",
    )


def loaded(world: Any) -> tuple[Any, Any]:
    """Model and tokenizer of a world's checkpoint ``extended``."""
    path = str(world.workspace / "extended")
    return load_model(path, torch.device("cpu"), torch.float32), load_tokenizer(path)
