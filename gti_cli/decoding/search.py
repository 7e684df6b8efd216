"""Beam search for any number of prompts, and the items behind the semantic IDs that a search has ranked.

`gti_cli.decoding.parts` comes before: it divides the prompts among processes. `gti_cli.decoding.beam` searches a batch.
Afterwards a stage turns the `Ranking` into lists of items with `item_groups` and `first_items`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gti_cli import console
from gti_cli.decoding.beam import Ranking, TrieTensors, beam_search_with_prefix
from gti_cli.decoding.branches import SharedPrefix
from gti_cli.decoding.probe import make_runner
from gti_cli.decoding.trie import Trie

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class RankedItems:
    """Items recommended to one user or for one query, best first.

    Attributes:
        rows: Catalogue rows.
        scores: Log-probability of each row's semantic ID.
    """

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
    """Run `gti_cli.decoding.beam.beam_search` batch by batch.

    Prompts of similar length share a batch, so that little is padded. The last batch may be smaller; no prompt is left
    out.

    Args:
        model: A causal LM in evaluation mode.
        prompts: P token-id lists, none empty.
        trie: The trie on the model's device.
        beams: Hypotheses kept for each prompt at every level.
        pad_id: Token id that fills shorter prompts on the left; never attended to.
        batch_size: Prompts in a batch. It changes speed and memory, not results.
        description: Of the progress bar.

    Returns:
        The best ``beams`` semantic IDs of each prompt, in the order of ``prompts``.
    """
    order = sorted(range(len(prompts)), key=lambda user: len(prompts[user]))
    leaves = np.empty((len(prompts), beams), dtype=np.int64)
    scores = np.empty((len(prompts), beams), dtype=np.float32)
    prefix = SharedPrefix(make_runner(model), prompts, trie.levels)
    with console.progress(description, len(prompts), "users") as advance:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            ranking = beam_search_with_prefix(prefix, [prompts[user] for user in batch], trie, beams, pad_id)
            leaves[batch], scores[batch] = ranking.leaves, ranking.scores
            advance(len(batch))
    return Ranking(leaves, scores)


def item_groups(ranking: Ranking, trie: Trie, user: int, seen: Collection[int] = ()) -> list[tuple[list[int], float]]:
    """Look up the items of each semantic ID ranked for one user.

    Several items in one group share a semantic ID. The model cannot tell them apart, and they stand in the catalogue's
    order.

    Args:
        ranking: Of all users.
        trie: Of the catalogue.
        user: Row of the ranking.
        seen: Catalogue rows to leave out.

    Returns:
        Catalogue rows and score of each semantic ID, best first. A group is empty where all its items are left out.
    """
    hidden = set(seen)
    return [
        ([row for row in trie.items_of(int(leaf)).tolist() if row not in hidden], float(score))
        for leaf, score in zip(ranking.leaves[user], ranking.scores[user], strict=True)
        if leaf >= 0
    ]


def first_items(groups: Sequence[tuple[list[int], float]], limit: int) -> RankedItems:
    """Take the first ``limit`` items of the groups that `item_groups` returned."""
    rows = [row for group, _ in groups for row in group]
    scores = [score for group, score in groups for _ in group]
    return RankedItems(rows[:limit], scores[:limit])
