"""The network of sasrec: which items a state depends on, and what padding and length do not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gti_cli.baselines.sasrec import Network, SASRec, batch_of
from tests.support.baselines import SASREC_ITEMS, SMALL

CPU = torch.device("cpu")


def test_a_state_depends_only_on_earlier_items() -> None:
    torch.manual_seed(0)
    network = Network(SASREC_ITEMS, SMALL).eval()
    rows = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 9, 9]])
    states = network(rows, torch.tensor([5, 5]))
    torch.testing.assert_close(states[0, :3], states[1, :3])
    assert (states[0, 3] - states[1, 3]).abs().max() > 1e-3


def test_padding_changes_nothing_and_only_the_last_items_count() -> None:
    torch.manual_seed(0)
    model = SASRec(Network(SASREC_ITEMS, SMALL))
    alone, among = model.scores([[3, 4]])[0], model.scores([[3, 4], [1, 2, 3, 4, 5, 6]])[0]
    np.testing.assert_allclose(alone, among, atol=1e-6)
    long = [7, 1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(model.scores([long])[0], model.scores([long[-SMALL.length :]])[0], atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_scores_have_no_dropout_and_leave_the_mode_as_it_was(training: bool) -> None:
    torch.manual_seed(0)
    network = Network(SASREC_ITEMS, SMALL).train(training)
    model = SASRec(network)
    np.testing.assert_array_equal(model.scores([[1, 2]]), model.scores([[1, 2]]))
    assert network.training is training


def test_a_batch_is_filled_up_on_the_right() -> None:
    rows, lengths = batch_of([[4, 5, 6], [7], [8, 9]], CPU)
    assert rows.tolist() == [[4, 5, 6], [7, 0, 0], [8, 9, 0]] and lengths.tolist() == [3, 1, 2]
    assert rows.dtype == torch.long
