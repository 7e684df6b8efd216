"""Branches in one sequence and branches in rows against the model run over each prompt and branch alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.decoding.architecture_probe import make_runner
from gti_cli.decoding.beam import TrieTensors, beam_search_with_prefix
from gti_cli.decoding.hypothesis_caches import BranchRows, BranchTree, SharedPrefix, StoredPrefix, shared_prefix_length
from gti_cli.decoding.runner import Abilities, Runner
from gti_cli.decoding.trie import build_trie
from tests.support.decoding import CPU, PAD, VOCAB, case, every_score, token_ids
from tests.support.models import make_model


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5))
def test_shared_prefix(prompts: list[list[int]]) -> None:
    length = shared_prefix_length(prompts)
    same = [len({tuple(p[:n]) for p in prompts}) == 1 for n in range(min(map(len, prompts)))]
    assert length == max(n for n, alike in enumerate(same) if alike)


@pytest.mark.parametrize("length", [1, 3, 4])
def test_a_stored_prefix_is_used_where_all_prompts_begin_with_it(length: int) -> None:
    codes, prompts = case(2, items=25, levels=3, prompts=4)
    runner, trie, ids = RUNNERS[BranchTree], build_trie(codes), token_ids(3)
    stored = [StoredPrefix(runner, [41, 42]), StoredPrefix(runner, prompts[0][:length])]
    found = []
    for _ in range(2):  # what was stored is not changed by a search
        prefix = SharedPrefix(runner, prompts, 3, stored)
        assert prefix.length == length and prefix._cache is stored[1].cache
        found.append(beam_search_with_prefix(prefix, prompts, TrieTensors(trie, ids, CPU), 30, PAD).scores)
    np.testing.assert_array_equal(found[0], found[1])
    for row, prompt in enumerate(prompts):
        expected = np.sort(every_score(MODEL, prompt, trie, ids))[::-1]
        np.testing.assert_allclose(found[0][row, : trie.leaves], expected, atol=1e-4)
    other = [*prompts, [40, *prompts[0]]]  # one that begins otherwise: nothing is shared, and all are read in full
    assert SharedPrefix(runner, other, 3, stored).length == 0
    assert SharedPrefix(runner, [prompts[0][:length]], 3, stored).length == length - 1  # no token of its own is left
    assert SharedPrefix(RUNNERS[BranchRows], prompts, 3, stored).length == 0


def windowed(width: int) -> Any:
    """A model whose layers see only the last ``width`` tokens."""
    from transformers import AutoModelForCausalLM

    config = make_model("mistral", VOCAB, seed=3).config
    config.sliding_window = width
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize(("width", "kind"), [(4, BranchRows), (512, BranchTree)])
def test_windows_shorter_than_the_prompt_are_kept(width: int, kind: type) -> None:
    codes, prompts = case(1, items=25, levels=3, prompts=3)
    model, trie, ids = windowed(width), build_trie(codes), token_ids(3)
    prefix = SharedPrefix(make_runner(model), prompts, 3)
    assert isinstance(prefix.prefill(prompts, PAD), kind)
    found = beam_search_with_prefix(prefix, prompts, TrieTensors(trie, ids, CPU), 30, PAD)
    for row, prompt in enumerate(prompts):
        expected = np.sort(every_score(model, prompt, trie, ids))[::-1]
        np.testing.assert_allclose(found.scores[row, : trie.leaves], expected, atol=1e-4)


MODEL: Any = make_model("qwen3", VOCAB, seed=3)
HEAD = {"split_head": True, "linear_head": True}
RUNNERS = {
    BranchTree: Runner(MODEL, Abilities(**HEAD, tree_masks=True)),
    BranchRows: Runner(MODEL, Abilities(**HEAD, tree_masks=False)),
}


def check_features(branches: BranchTree | BranchRows, sequences: list[list[list[int]]]) -> None:
    """The features are the last hidden states of each prompt's sequences, each run through the model alone."""
    for row, of_prompt in enumerate(sequences):
        for column, sequence in enumerate(of_prompt):
            alone = MODEL.base_model(torch.tensor([sequence])).last_hidden_state[0, -1]
            torch.testing.assert_close(branches.features[row, column], alone, atol=2e-5, rtol=1e-4)


def random_step(
    branches: BranchTree | BranchRows, sequences: list[list[list[int]]], width: int, rng: np.random.Generator
) -> list[list[list[int]]]:
    """Continue ``width`` random hypotheses of each prompt with random tokens; returns the longer sequences."""
    parents = rng.integers(0, len(sequences[0]), (len(sequences), width))
    tokens = rng.integers(3, VOCAB, (len(sequences), width))
    branches.step(torch.from_numpy(parents), torch.from_numpy(tokens))
    return [
        [[*of_prompt[parent], int(token)] for parent, token in zip(parents[row], tokens[row], strict=True)]
        for row, of_prompt in enumerate(sequences)
    ]


@torch.inference_mode()
@pytest.mark.parametrize("kind", [BranchTree, BranchRows])
@pytest.mark.parametrize("shared", [0, 4])
def test_every_branch_sees_its_prompt_and_its_ancestors_alone(kind: type, shared: int) -> None:
    rng = np.random.default_rng(shared)
    _, prompts = case(2, items=1, levels=3, prompts=4, shared=shared)
    prefix = SharedPrefix(RUNNERS[kind], prompts, 3)
    assert prefix.length == (shared_prefix_length(prompts) if kind is BranchTree else 0)
    branches = prefix.prefill(prompts, PAD)
    assert isinstance(branches, kind)
    sequences = [[prompt] for prompt in prompts]
    check_features(branches, sequences)
    for width in (3, 5, 2):  # the number of hypotheses grows and falls
        sequences = random_step(branches, sequences, width, rng)
        check_features(branches, sequences)


@torch.inference_mode()
@pytest.mark.parametrize("kind", [BranchTree, BranchRows])
def test_a_fork_leaves_the_original_unchanged(kind: type) -> None:
    rng = np.random.default_rng(5)
    _, prompts = case(3, items=1, levels=3, prompts=2)
    branches = SharedPrefix(RUNNERS[kind], prompts, 3).prefill(prompts, PAD)
    sequences = random_step(branches, [[prompt] for prompt in prompts], 3, rng)
    features = branches.features.clone()
    for width in (4, 2):  # two forks of one state, one after the other
        fork = branches.fork()
        check_features(fork, random_step(fork, sequences, width, rng))
        assert torch.equal(branches.features, features)
    check_features(branches, random_step(branches, sequences, 3, rng))


@torch.inference_mode()
@pytest.mark.parametrize("kind", [BranchTree, BranchRows])
def test_some_prompts_are_selected(kind: type) -> None:
    rng = np.random.default_rng(6)
    _, prompts = case(4, items=1, levels=3, prompts=4)
    branches = SharedPrefix(RUNNERS[kind], prompts, 3).prefill(prompts, PAD)
    sequences = random_step(branches, [[prompt] for prompt in prompts], 3, rng)
    chosen = [1, 3]
    part = branches.select(torch.tensor(chosen))
    of_part = [sequences[number] for number in chosen]
    check_features(part, of_part)
    check_features(part, random_step(part, of_part, 2, rng))
    check_features(branches, random_step(branches, sequences, 2, rng))  # the original still has all of them
