"""The bias of a prior, against loops over all items and a softmax over all logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from gti_cli.decoding.prior_bias import FLOOR, PriorTrie, add_bias, code_bias
from gti_cli.decoding.trie import build_trie

CPU = torch.device("cpu")


def reference(codes, masses, prefix, size, share):
    """log(P(code | prefix) * K), item by item."""
    level, total = len(prefix), masses.sum()
    weights = np.full(len(codes), 1 / len(codes))
    if total > 0:
        weights = share * weights + (1 - share) * masses / total
    below = (codes[:, :level] == prefix).all(axis=1)
    sums = np.asarray([weights[below & (codes[:, level] == code)].sum() for code in range(size)])
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(sums / weights[below].sum() * size), FLOOR)


@st.composite
def catalogues(draw):
    """Codes of some items, some of them shared, and masses behind three prompts, the last of which has none."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = draw(st.lists(st.integers(2, 5), min_size=1, max_size=3))
    count = draw(st.integers(1, 12))
    codes = np.stack([rng.integers(0, size, count) for size in sizes], axis=1).astype(np.int32)
    masses = rng.random((3, count)) * (rng.random((3, count)) < 0.5)
    masses[2] = 0
    return codes, sizes, masses


@settings(max_examples=25)
@given(catalogues())
def test_is_the_logarithm_of_the_share_of_mass(catalogue):
    codes, sizes, masses = catalogue
    trie = build_trie(codes)
    prior = PriorTrie(trie, sizes, CPU)
    behind = prior.masses(sparse.csr_matrix(masses))
    for level, size in enumerate(sizes):
        prefixes = np.unique(codes[:, :level], axis=0)  # In the order of the trie's nodes.
        for prompt in range(3):
            nodes = torch.arange(len(prefixes))
            actual = code_bias(prior, behind, level, torch.full_like(nodes, prompt), nodes, uniform_share=0.2)
            expected = [reference(codes, masses[prompt], prefix, size, 0.2) for prefix in prefixes]
            np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-5, atol=1e-5)
    chosen = torch.tensor([2, 0])
    again = code_bias(prior, behind.select(chosen), 0, torch.tensor([0, 1]), torch.zeros(2, dtype=torch.long))
    whole = code_bias(prior, behind, 0, chosen, torch.zeros(2, dtype=torch.long))
    assert torch.equal(again, whole)


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_log_probabilities_are_those_of_biased_logits(scale):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 40, generator=generator) * scale
    bias = torch.randn(6, 8, generator=generator)
    biased = logits.clone()
    biased[:, 10:18] += bias
    actual = add_bias(logits.log_softmax(1)[:, 10:18], bias)
    torch.testing.assert_close(actual, biased.log_softmax(1)[:, 10:18], atol=2e-5, rtol=1e-5)


def test_an_even_prior_adds_nothing():
    codes = np.asarray([[a, b] for a in range(4) for b in range(3)], dtype=np.int32)
    prior = PriorTrie(build_trie(codes), [4, 3], CPU)
    even = prior.masses(sparse.csr_matrix(np.ones((1, 12))))
    zero = torch.zeros(1, dtype=torch.long)
    assert code_bias(prior, even, 0, zero, zero).abs().max() < 1e-6
    assert code_bias(prior, even, 1, zero, zero).abs().max() < 1e-6


def test_the_bias_behind_a_prompt_does_not_depend_on_the_others_in_the_batch():
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, 4, 30) for _ in range(2)], axis=1).astype(np.int32)
    prior = PriorTrie(build_trie(codes), [4, 4], CPU)
    masses = sparse.csr_matrix(rng.random((50, 30)) * 10.0 ** rng.integers(-3, 9, (50, 1)))
    nodes = torch.zeros(1, dtype=torch.long)
    together = code_bias(prior, prior.masses(masses), 0, torch.arange(50), nodes.expand(50))
    alone = [code_bias(prior, prior.masses(masses[[number]]), 0, nodes, nodes) for number in range(50)]
    assert torch.equal(together, torch.cat(alone))
