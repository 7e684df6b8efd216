"""Beam search for any number of prompts, batch by batch.

`gti_cli.decoding.search_parts` comes before: it divides the prompts among processes. `gti_cli.decoding.beam` searches
a batch. `gti_cli.decoding.ranked_items` comes after: it looks up the items of the ranked semantic IDs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gti_cli import console
from gti_cli.decoding.architecture_probe import make_runner
from gti_cli.decoding.beam import Ranking, TrieTensors, beam_search_with_prefix
from gti_cli.decoding.constraints.allowed_nodes import AllowedNodes
from gti_cli.decoding.hypothesis_caches import SharedPrefix
from gti_cli.decoding.prompt_prior import PromptPrior

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def search_all(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    trie: TrieTensors,
    beams: int,
    *,
    pad_id: int,
    batch_size: int,
    description: str,
    prior: PromptPrior | None = None,
    allowed: AllowedNodes | None = None,
    prefix: SharedPrefix | None = None,
) -> Ranking:
    """Search for all prompts as `gti_cli.decoding.beam.beam_search` does, batch by batch.

    Prompts of similar length share a batch, so that little is padded. The last batch may be smaller; no prompt is left
    out.

    Args:
        model: A causal LM in evaluation mode.
        prompts: P token-id lists, none empty.
        trie: The trie on the model's device.
        beams: Hypotheses kept for each prompt at every level.
        pad_id: Token id that fills shorter prompts on the left; never attended to.
        batch_size: Prompts in a batch. It changes speed and memory, not results.
        description: Text before the progress bar.
        prior: A behaviour prior behind the P prompts.
        allowed: The nodes that the P prompts may follow. None: all.
        prefix: What all prompts begin with, if it was computed before. None: it is computed here.

    Returns:
        The best ``beams`` semantic IDs of each prompt, in the order of ``prompts``.
    """
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    leaves = np.empty((len(prompts), beams), dtype=np.int64)
    scores = np.empty((len(prompts), beams), dtype=np.float32)
    dropped = np.empty(len(prompts), dtype=np.float32)
    prefix = prefix or SharedPrefix(make_runner(model), prompts, trie.levels)
    with console.progress(description, len(prompts), "prompts") as advance:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            of_batch = prior.select(batch) if prior is not None else None
            nodes = allowed.select(batch) if allowed is not None else None
            ranking = beam_search_with_prefix(
                prefix, [prompts[number] for number in batch], trie, beams, pad_id, of_batch, nodes
            )
            leaves[batch], scores[batch], dropped[batch] = ranking.leaves, ranking.scores, ranking.dropped
            advance(len(batch))
    return Ranking(leaves, scores, dropped)
