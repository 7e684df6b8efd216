"""The frontier of an exact search, against sorted Python lists."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.decoding.frontier import Frontier
from tests.support.two_devices import TwoDevices

NODES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(-3, 0)), min_size=1, max_size=12)


@given(NODES, st.integers(0, 4), st.integers(1, 4))
def test_a_grid_holds_each_prompts_best_nodes_in_order(nodes, first, width):
    """Nodes are (prompt, branch, score); their numbers are their places in the list."""
    prompts, branches, scores = (torch.tensor(column) for column in zip(*nodes, strict=True))
    frontier = Frontier(prompts, branches, torch.arange(len(nodes)), scores.float(), 4)
    for chosen in ([0, 1, 2, 3], [1, 3]):
        part = frontier if len(chosen) == 4 else frontier.select(torch.tensor(chosen))
        expected = [
            sorted((n for n, node in enumerate(nodes) if node[0] == prompt), key=lambda n: (-nodes[n][2], n))
            for prompt in chosen
        ]
        assert part.counts.tolist() == [len(numbers) for numbers in expected]
        assert part.largest_count() == max(map(len, expected))
        parents, numbers, values = part.grid(first, width)
        for row, own in enumerate(expected):
            shown = own[first : first + width]
            assert numbers[row, : len(shown)].tolist() == shown
            assert parents[row, : len(shown)].tolist() == [nodes[n][1] for n in shown]
            assert values[row].tolist() == [nodes[n][2] for n in shown] + [float("-inf")] * (width - len(shown))


def test_a_gpu_finds_the_same() -> None:
    prompts, branches, numbers = torch.tensor([2, 0, 2, 0, 2]), torch.tensor([4, 3, 2, 1, 0]), torch.arange(5)
    scores, chosen = torch.tensor([0.0, -1.0, 0.0, -1.0, 1.0]), torch.tensor([0, 2])
    with TwoDevices():
        frontier = Frontier(prompts, branches, numbers, scores, 3)
        grid, part = frontier.grid(0, 3), frontier.select(chosen).grid(0, 3)
        assert all(map(TwoDevices.is_on_device, (*grid, *part)))
    for values, of_part, first, last in zip(
        *(grid, part, ([3, 1, 0], [1, 3, 0], [-1.0, -1.0, float("-inf")]), ([0, 4, 2], [4, 0, 2], [1.0, 0.0, 0.0])),
        strict=True,
    ):
        assert values[[0, 2]].tolist() == of_part.tolist() == [first, last]
