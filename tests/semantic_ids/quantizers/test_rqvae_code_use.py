from __future__ import annotations

import numpy as np
import pytest
import torch

from gti_cli.semantic_ids.quantizers.rqvae_code_use import _partners, balanced_codes, code_groups, diversity_loss
from gti_cli.semantic_ids.quantizers.sinkhorn import balanced_assignment


def test_groups_are_about_even() -> None:
    rng = np.random.default_rng(0)
    codebook = np.concatenate([rng.standard_normal((150, 4)) * 0.01, rng.standard_normal((50, 4)) + 5]).astype("f4")
    labels = code_groups(codebook, seed=0)
    counts = np.bincount(labels, minlength=10)
    assert counts.tolist() == [20] * 10
    near = labels[150:]
    assert len(np.unique(near)) <= 6  # the far cloud of 50 fills groups of its own, not a bit of each
    assert not code_groups(codebook[:19], seed=0).any()  # too few for ten groups: one


def test_partners_are_others_of_the_group() -> None:
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    codes = torch.arange(6).repeat(50)
    partners = _partners(labels, codes, torch.Generator().manual_seed(0))
    assert (labels[partners] == labels[codes]).all()
    alone = codes == 3
    assert (partners[alone] == 3).all() and (partners[~alone] != codes[~alone]).all()
    assert {int(p) for p, c in zip(partners, codes, strict=True) if c == 0} == {2, 5}


def test_loss_against_the_formula() -> None:
    torch.manual_seed(0)
    codebook = torch.randn(5, 3, requires_grad=True)
    labels, codes = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 3, 3, 4])
    loss = diversity_loss(codebook, codes, labels, torch.Generator().manual_seed(0))
    book, terms = codebook.detach().numpy(), []
    for code, partner in ((0, 1), (3, 2), (3, 2)):  # groups of two leave no choice; code 4 is alone
        scores = np.exp(book @ book[code])
        terms.append(-np.log(scores[partner] / (scores.sum() - scores[code])))
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-5)
    loss.backward()
    assert torch.isfinite(codebook.grad).all()


def test_codes_without_a_partner_cost_nothing() -> None:
    codebook = torch.randn(1, 3, requires_grad=True)
    loss = diversity_loss(
        codebook, torch.zeros(4, dtype=torch.long), torch.zeros(1, dtype=torch.long), torch.Generator()
    )
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(codebook.grad).all()


def test_balanced_codes_are_those_of_the_numpy_plan() -> None:
    torch.manual_seed(0)
    rows, codebook = torch.randn(40, 6), torch.randn(8, 6)
    cost = ((rows[:, None] - codebook[None]) ** 2).sum(dim=2).double().numpy()
    codes = balanced_codes(rows, codebook, 0.05)
    assert (codes.numpy() == balanced_assignment(cost, 0.05)).mean() >= 0.95  # float32 against float64 near ties
    assert len(codes.unique()) == 8
    assert balanced_codes(rows[:1], codebook, 0.003).shape == (1,)
    assert len(balanced_codes(torch.zeros(4, 6), codebook[:1], 0.003)) == 4
