"""Search for many users: batches of like length, and from semantic IDs to items."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gti_cli import console
from gti_cli.decoding.beam import Ranking, TrieTensors, beam_search_behind
from gti_cli.decoding.branches import Prefix
from gti_cli.decoding.probe import make_runner
from gti_cli.decoding.trie import Trie

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Recommended:
    """Items recommended to one user, best first: catalogue rows and log-probabilities."""

    rows: list[int]
    scores: list[float]


def search_all(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    trie: TrieTensors,
    beams: int,
    *,
    pad_id: int,
    batch_size: int,
    description: str,
) -> Ranking:
    """`beam_search` for any number of prompts; ``Ranking`` in the order of ``prompts``.

    Prompts of like length share a batch, so that little is padded; the last batch is as good as any.

    Args:
        batch_size: prompts in a batch; changes speed and memory, not results. description: of the progress bar.
    """
    order = sorted(range(len(prompts)), key=lambda user: len(prompts[user]))
    leaves = np.empty((len(prompts), beams), dtype=np.int64)
    scores = np.empty((len(prompts), beams), dtype=np.float32)
    prefix = Prefix(make_runner(model), prompts, trie.levels)
    with console.progress(description, len(prompts), "users") as advance:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            found = beam_search_behind(prefix, [prompts[user] for user in batch], trie, beams, pad_id)
            leaves[batch], scores[batch] = found.leaves, found.scores
            advance(len(batch))
    return Ranking(leaves, scores)


def to_items(ranking: Ranking, trie: Trie, user: int, seen: Collection[int] = ()) -> list[tuple[list[int], float]]:
    """The items of each semantic ID found for ``user``, best first, without ``seen`` rows: (rows, score) of each.

    Several rows in one entry share a semantic ID: the model cannot tell them apart, and they stand in the catalogue's
    order. Entries may be empty where all their items were seen.
    """
    hidden = set(seen)
    return [
        ([row for row in trie.items_of(int(leaf)).tolist() if row not in hidden], float(score))
        for leaf, score in zip(ranking.leaves[user], ranking.scores[user], strict=True)
        if leaf >= 0
    ]


def cut(groups: Sequence[tuple[list[int], float]], most: int) -> Recommended:
    """The first ``most`` items of `to_items`."""
    rows = [row for group, _ in groups for row in group]
    scores = [score for group, score in groups for _ in group]
    return Recommended(rows[:most], scores[:most])
