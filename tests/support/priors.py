"""A behaviour prior beside the checkpoint of the small workspace, and the scores of its items by forward passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gti_cli.baselines.content_knn import ContentNeighbourhood, Spread
from gti_cli.baselines.item_knn import ItemKNN, Neighbourhood
from gti_cli.baselines.sasrec import Network, SASRec, Size
from gti_cli.checkpoints.loading import load_model, load_tokenizer
from gti_cli.checkpoints.token_names import semantic_id
from gti_cli.decoding.prior_bias import FLOOR, UNIFORM_SHARE
from gti_cli.priors.channels import ChannelsPrior
from gti_cli.priors.content_knn_prior import ContentKnnPrior
from gti_cli.priors.item_knn_prior import ItemKnnPrior
from gti_cli.priors.masses import Prior
from gti_cli.priors.mixed_prior import MixedPrior
from gti_cli.priors.sasrec_prior import SasrecPrior
from gti_cli.priors.stored_prior import StoredPrior, write_prior
from gti_cli.prompts.next_item import encode_history
from gti_cli.workspace import Workspace
from tests.support.evaluation import HISTORY, SIZES, World, add_checkpoint

WEIGHTS = (0.7, 1.5, 0.4)
CHANNEL_WEIGHTS = (WEIGHTS, (0.3, 0.9, -0.5))
WITH_PRIOR = "with-prior"
SMALL = Size(hidden=8, dropout=0.1, length=3)
IDS = ["a", "b", "ü", "d"]  # items of `store_small_prior`
ROW_OF = {item: row for row, item in enumerate(IDS)}
SETTINGS = Neighbourhood(last=2, decay=0.5)


def random_sasrec(items: int, seed: int = 0, **settings: Any) -> SasrecPrior:
    """The prior of a network with random weights, which prefers some items clearly."""
    torch.manual_seed(seed)
    network = Network(items, SMALL).eval()
    network.items.weight.data *= 40
    return SasrecPrior(SASRec(network), np.arange(items), **settings)


def random_content(items: int, seed: int = 0, **settings: Any) -> ContentKnnPrior:
    """The prior of random embeddings; nothing is known of the last item."""
    vectors = (1 + np.random.default_rng(seed).normal(size=(items, 4))).astype(np.float16)
    vectors[-1] = 0
    chosen = ContentNeighbourhood(last=2, centring=0.5, whitening=0.5, repeats=0)
    return ContentKnnPrior(vectors, Spread.measure(vectors.astype(np.float32)), chosen, **settings)


def made_channels(world: World) -> ChannelsPrior:
    """A mixture, and content-knn beside it."""
    return ChannelsPrior([made_mixture(world), random_content(len(world.item_ids), temperature=0.3)])


def store_small_prior(folder: Path) -> ItemKnnPrior:
    """Write what the histories of three users tell, with weights of two levels, and return it as it was written."""
    train = {"1": ["a", "b", "ü"], "2": ["b", "d", "a"], "3": ["ü", "d"]}
    prior = ItemKnnPrior.of(ItemKNN(train, ROW_OF, SETTINGS))
    prior.similarity.data = prior.similarity.data.astype(np.float32).astype(np.float64)
    write_prior(folder, StoredPrior(prior, np.asarray([0.5, 0.25], dtype=np.float32)), IDS)
    return prior


def made_prior(world: World) -> ItemKnnPrior:
    """The prior that the world's histories give, without their last two items."""
    row_of = {item: row for row, item in enumerate(world.item_ids)}
    train = {user: [world.item_ids[row] for row in rows[:-2]] for user, rows in world.histories.items()}
    return ItemKnnPrior.of(ItemKNN(train, row_of, Neighbourhood(last=3)))


def made_mixture(world: World) -> MixedPrior:
    """The same mixed with that of a random network."""
    return MixedPrior([made_prior(world), random_sasrec(len(world.item_ids), temperature=1.5)], [0.3, 0.7])


def add_checkpoint_with_prior(
    world: World, name: str = WITH_PRIOR, make: Callable[[World], Prior] = made_prior
) -> Prior:
    """Write a checkpoint like the world's, with a prior beside it, and return the prior."""
    space, prior = Workspace(world.workspace), make(world)

    def also(folder: Path) -> None:
        weights = CHANNEL_WEIGHTS if isinstance(prior, ChannelsPrior) else WEIGHTS
        write_prior(folder, StoredPrior(prior, np.asarray(weights, dtype=np.float32)), world.item_ids)

    ids = space.require("semantic_ids", "")
    add_checkpoint(space, ids, name, interactions=world.interactions, also=also)
    return prior


def shares(codes: np.ndarray, masses: np.ndarray, row: int, level: int) -> np.ndarray:
    """log(P(code | prefix) * K) of each code behind the prefix of an item, item by item."""
    weights = np.full(len(codes), 1 / len(codes))
    if masses.sum() > 0:
        weights = UNIFORM_SHARE * weights + (1 - UNIFORM_SHARE) * masses / masses.sum()
    below = (codes[:, :level] == codes[row, :level]).all(axis=1)
    sums = np.asarray([weights[below & (codes[:, level] == code)].sum() for code in range(SIZES[level])])
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(sums / weights[below].sum() * SIZES[level]), FLOOR)


@torch.inference_mode()
def scores_with_prior(world: World, prior: Prior, history: Sequence[int], name: str = WITH_PRIOR) -> np.ndarray:
    """(items,) log-probability of every item behind a history, from forward passes whose logits get the bias."""
    folder, shown = str(world.workspace / name), list(history)[-HISTORY:]
    tokenizer, model = load_tokenizer(folder), load_model(folder, torch.device("cpu"), torch.float32)
    answers = [tokenizer(semantic_id(codes), add_special_tokens=False)["input_ids"] for codes in world.codes]
    prompt = encode_history(tokenizer, [semantic_id(world.codes[row]) for row in shown])
    logits = model(torch.tensor([prompt + answer for answer in answers])).logits[:, len(prompt) - 1 : -1].double()
    channels = prior.masses([shown]).toarray()[0].reshape(-1, len(world.codes))
    for level, size in enumerate(SIZES):
        ids = tokenizer.convert_tokens_to_ids([f"<{'abc'[level]}_{code}>" for code in range(size)])
        for row in range(len(world.codes)):
            for masses, weights in zip(channels, CHANNEL_WEIGHTS, strict=False):
                bias = torch.from_numpy(shares(world.codes, masses, row, level))
                logits[row, level, ids] += weights[level] * bias
    found: np.ndarray = logits.log_softmax(-1).gather(-1, torch.tensor(answers)[..., None]).sum((1, 2)).numpy()
    return found
