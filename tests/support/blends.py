"""Made-up recommenders whose best blend is known; a workspace with a blend, and what it must recommend."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gti_cli.baselines.content_knn import ContentKNN, ContentNeighbourhood, ItemSpace, Spread
from gti_cli.baselines.item_knn import ItemKNN, Neighbourhood
from gti_cli.blending.blend import blend
from gti_cli.blends.candidate_table import union
from gti_cli.blends.fit import MemberScores
from gti_cli.blends.mixing import find_contexts
from gti_cli.checkpoints.loading import load_model, load_tokenizer
from gti_cli.checkpoints.token_names import semantic_id
from gti_cli.prompts.next_item import encode_history
from gti_cli.tensors.vector_file import VectorFile, write_vectors
from gti_cli.workspace.manifest import Manifest
from tests.support.evaluation import HISTORY, World, make_world


def made_up_scores(
    users: int = 400, items: int = 60, length: int = 20, seed: int = 0
) -> tuple[MemberScores, np.ndarray]:
    """Two recommenders that each know one part of the truth, and one that knows nothing; and the targets."""
    rng = np.random.default_rng(seed)
    first, second, noise = (rng.normal(size=(users, items)) for _ in range(3))
    targets = (2 * first + 2 * second + rng.gumbel(size=(users, items))).argmax(axis=1)
    # Their scores have different scales and zero points, as those of real recommenders have.
    said = {"first": 10 * first - 50, "second": 0.1 * second, "noise": noise}
    lists = [np.argsort(-scores, axis=1)[:, :length] for scores in said.values()]
    candidates = union(lists, [[] for _ in range(users)], filter_seen=False)
    owners, rows = candidates.owners, candidates.rows
    listed = np.zeros((len(said), len(rows)), dtype=bool)
    for member, columns in enumerate(lists):
        listed[member] = (columns[owners] == rows[:, None]).any(axis=1)
    contexts = find_contexts(np.full(len(rows), 3), rng.integers(0, 200, items)[rows])
    scores = np.stack([values[owners, rows] for values in said.values()])
    return MemberScores(tuple(said), candidates, scores, listed, contexts), targets


LIST_LENGTH = 10
MEMBERS = ("finetuned", "item-knn", "content-knn")


@dataclass(frozen=True)
class Blended:
    """A small workspace with a blend: its paths, and the manifest of the blend."""

    world: World
    manifest: Manifest


def make_blended(folder: Path) -> Blended:
    """The workspace of `make_world`, with embeddings, and a blend of `MEMBERS`."""
    world = make_world(folder)
    vectors = np.random.default_rng(4).normal(size=(len(world.item_ids), 4)).astype(np.float32)
    write_vectors(world.workspace / "embeddings.safetensors", vectors.shape, [vectors])
    options = {"list_length": LIST_LENGTH, "dtype": "float32"}
    return Blended(world, blend(list(MEMBERS), world.interactions, world.workspace, **options))


@torch.inference_mode()
def model_scores(world: World, histories: list[list[int]]) -> np.ndarray:
    """(U, ITEMS) log-probabilities of every item, each by a forward pass of its own."""
    folder = str(world.workspace / "finetuned")
    tokenizer, model = load_tokenizer(folder), load_model(folder, torch.device("cpu"), torch.float32)
    answers = [tokenizer(semantic_id(row), add_special_tokens=False)["input_ids"] for row in world.codes]
    scores = []
    for items in histories:
        prompt = encode_history(tokenizer, [semantic_id(world.codes[row]) for row in items[-HISTORY:]])
        logits = model(torch.tensor([prompt + answer for answer in answers])).logits[:, len(prompt) - 1 : -1]
        scores.append(logits.log_softmax(-1).gather(-1, torch.tensor(answers)[..., None]).sum((1, 2)).numpy())
    return np.stack(scores).astype(np.float64)


def member_scores(blended: Blended, histories: list[list[int]]) -> dict[str, np.ndarray]:
    """(U, ITEMS) scores of each member, before they are made comparable; the baselines are fitted here anew."""
    world, tuning = blended.world, blended.manifest.metrics["tuning"]
    row_of = {item: row for row, item in enumerate(world.item_ids)}
    # The last two items of a user are held out; a user with two items is only trained on.
    train = {
        user: [f"i{row}" for row in (items[:-2] if len(items) > 2 else items)]
        for user, items in world.histories.items()
    }
    counted = ItemKNN(train, row_of, Neighbourhood(**tuning["item-knn"]["chosen"])).scores(histories)
    chosen = ContentNeighbourhood(**tuning["content-knn"]["chosen"])
    vectors = VectorFile(world.workspace / "embeddings.safetensors")[:]
    space = ItemSpace(vectors, Spread.measure(vectors), centring=chosen.centring, whitening=chosen.whitening)
    with np.errstate(divide="ignore"):
        logs = np.where(counted > 0, np.log(np.maximum(counted, 0)), -np.inf)
    return {
        "finetuned": model_scores(world, histories),
        "item-knn": logs,
        "content-knn": ContentKNN(space, chosen).scores(histories),
    }


def best(scores: np.ndarray, hidden: set[int], k: int) -> list[int]:
    """The best items with a finite score, by a sort of all; of equal ones the lower row first."""
    rows = [row for row in range(len(scores)) if row not in hidden and math.isfinite(scores[row])]
    return sorted(rows, key=lambda row: (-round(float(scores[row]), 5), row))[:k]


def naive_blend(
    values: dict[str, Any],
    scores: dict[str, np.ndarray],
    history: list[int],
    counts: np.ndarray,
    *,
    hidden: set[int] = frozenset(),  # type: ignore[assignment]
) -> dict[int, float]:
    """Score the candidates of one user, by the numbers of a blend in ``blend.json``, one candidate at a time.

    Args:
        values: A blend as JSON.
        scores: (ITEMS,) scores of each member for this user.
        history: The user's items.
        counts: (ITEMS,) training interactions.
        hidden: Items that are no candidates.

    Returns:
        The score of each candidate.
    """
    members = values["members"]
    candidates = sorted({row for name in members for row in best(scores[name], hidden, LIST_LENGTH)})
    logs = {}
    for name, calibration in zip(members, values["calibrations"], strict=True):
        weights = [math.exp(scores[name][row] / calibration["temperature"]) for row in candidates]
        total, share = sum(weights), calibration["uniform_share"]
        logs[name] = {
            row: math.log((1 - share) * (weight / total if total else 1 / len(candidates)) + share / len(candidates))
            for row, weight in zip(candidates, weights, strict=True)
        }
    found = {}
    for row in candidates:
        own = [logs[name][row] for name in members]
        if values["form"] == "mixture":
            found[row] = math.log(sum(w * math.exp(value) for w, value in zip(values["weights"], own, strict=True)))
            continue
        extra = [0.0] * len(members)
        bias = 0.0
        if values["form"] == "contextual product":
            long = sum(len(history) > end for end in values["history_ends"])
            often = sum(counts[row] > end for end in values["item_ends"])
            extra = [values["history_weights"][n][long] + values["item_weights"][n][often] for n in range(len(members))]
            bias = values["item_bias"][often]
        found[row] = bias + sum(
            (w + more) * value for w, more, value in zip(values["weights"], extra, own, strict=True)
        )
    return found


def training_counts(world: World) -> np.ndarray:
    """(ITEMS,) training interactions of each item."""
    rows = [row for items in world.histories.values() for row in (items[:-2] if len(items) > 2 else items)]
    return np.bincount(rows, minlength=len(world.item_ids))
