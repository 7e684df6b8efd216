"""The nodes of an exact search, against a sort of each prompt's nodes."""

from __future__ import annotations

import torch

from gti_cli.decoding.frontier import Frontier

PROMPTS = 3
ROW = torch.tensor([2, 0, 2, 0, 2, 2, 0])  # prompt 1 has none
SLOT = torch.tensor([0, 1, 2, 3, 4, 5, 6])
NODES = torch.arange(10, 17)
SCORES = torch.tensor([-1.0, -3.0, -0.5, -2.0, -1.0, -4.0, -2.5])


def test_each_prompt_has_its_best_nodes_first() -> None:
    frontier = Frontier(ROW, SLOT, NODES, SCORES, PROMPTS)
    assert frontier.counts.tolist() == [3, 0, 4] and frontier.largest_count() == 4
    parents, nodes, scores = frontier.grid(0, 4)
    for prompt in range(PROMPTS):
        own = [n for n in range(len(ROW)) if ROW[n] == prompt]
        best = sorted(own, key=lambda n: -float(SCORES[n]))  # stable: of equal scores the first
        count = len(best)
        assert nodes[prompt, :count].tolist() == NODES[best].tolist()
        assert parents[prompt, :count].tolist() == SLOT[best].tolist()
        assert scores[prompt, :count].tolist() == SCORES[best].tolist()
        assert (scores[prompt, count:] == -torch.inf).all()


def test_a_round_takes_some_ranks_of_some_prompts() -> None:
    frontier = Frontier(ROW, SLOT, NODES, SCORES, PROMPTS)
    whole = frontier.grid(0, 4)
    for mine, all_of_it in zip(frontier.grid(1, 2), whole, strict=True):
        assert torch.equal(mine, all_of_it[:, 1:3])
    selected = frontier.select(torch.tensor([0, 2]))
    assert selected.counts.tolist() == [3, 4]
    for mine, all_of_it in zip(selected.grid(0, 4), whole, strict=True):
        assert torch.equal(mine, all_of_it[[0, 2]])
