"""Scores of given items, and what each code adds to the score of one: the parts of its sum."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from gti_cli.decoding.candidate_scores import CandidateLists
from gti_cli.decoding.search_parts import ScoreRequest, Searcher, score_parts
from gti_cli.recommender.loaded_model import LoadedModel, Prompts


def candidate_scores(
    model: LoadedModel, prompts: Prompts, candidates: Sequence[Sequence[int]], batch_size: int
) -> list[list[float]]:
    """The exact log-probabilities of given items.

    Args:
        model: The model.
        prompts: P prompts.
        candidates: For each prompt, rows of the catalogue.
        batch_size: Most prompts in a batch.
    """
    lists = CandidateLists.of(candidates)
    request = ScoreRequest(prompts.ids, lists, model.masses(prompts))
    scores = score_parts(model.searcher, request, batch_size=batch_size, description="Scoring candidates", unit="users")
    return [scores[start:end].tolist() for start, end in pairwise(lists.offsets)]


@torch.inference_mode()
def level_scores(model: LoadedModel, prompts: Prompts, row: int) -> list[float]:
    """The log-probability of each code of an item, behind the prompt and the codes before it.

    Args:
        model: The model.
        prompts: One prompt.
        row: Catalogue row of the item.

    Returns:
        L numbers. Their sum is the item's score, up to rounding.
    """
    searcher: Searcher = model.searcher
    trie, masses = searcher.trie, model.masses(prompts)
    prior = searcher.prior_behind(masses, [0])
    prefix = searcher.prefix_of(prompts.ids)
    branches = prefix.prefill(prompts.ids, searcher.pad_id)
    path = [int(nodes[0]) for nodes in trie.trie.paths(np.asarray([trie.trie.leaf_of_row[row]]))]
    scores = []
    for level in range(trie.levels):
        features, token = branches.features[:, 0], trie.tokens[level][path[level + 1]].view(1, 1)
        if prior is None:
            gained = prefix.runner.log_probs(features, token)[0, 0]
        else:
            node = torch.full_like(token[0], path[level])
            of_codes = prior.log_probs(prefix.runner, level, torch.zeros_like(node), node, features)
            gained = of_codes[0, int(trie.trie.codes[level][path[level + 1]])]
        scores.append(float(gained))
        if level < trie.levels - 1:  # The last code is scored; the model need not read it.
            branches.step(torch.zeros_like(token), token)
    return scores
