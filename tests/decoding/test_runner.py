"""What a model can do is found out by trying; the ways of running it agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gti_cli.decoding import probe
from gti_cli.decoding.beam import TrieTensors, beam_search, beam_search_with_prefix, stable_topk
from gti_cli.decoding.branches import BranchRows, BranchTree, SharedPrefix, shared_prefix_length
from gti_cli.decoding.probe import make_runner
from gti_cli.decoding.runner import Abilities
from gti_cli.decoding.trie import build_trie
from gti_cli.errors import InputError
from tests.support.decoding import CPU, PAD, VOCAB, case, every_score, token_ids
from tests.support.models import make_model


@pytest.mark.parametrize(
    ("kind", "split", "trees"),
    [
        ("qwen3", True, True),
        ("gpt2", True, True),
        ("gemma2", False, True),
        ("cohere", False, True),
        ("bloom", True, False),
    ],
)
def test_abilities(kind: str, split: bool, trees: bool) -> None:
    abilities = make_runner(make_model(kind, VOCAB, seed=3)).abilities
    assert abilities == Abilities(split_head=split, linear_head=split, tree_masks=trees)


class Doubled(torch.nn.Linear):
    """A head that is no longer a matrix alone."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(hidden)


def test_abilities_are_tried_once_and_again_for_another_head(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("qwen3", VOCAB, seed=3)
    tried = []
    monkeypatch.setattr(probe, "_follows_tree_masks", lambda _: tried.append(1) or True)
    assert all(make_runner(model).abilities.linear_head for _ in range(2)) and len(tried) == 1
    other = Doubled(32, VOCAB, bias=False)
    model.set_output_embeddings(other)
    runner = make_runner(model)
    assert (runner.abilities.split_head, runner.abilities.linear_head, len(tried)) == (True, False, 2)
    features, tokens = torch.randn(5, 32), torch.randint(VOCAB, (5, 4))
    expected = other(features).log_softmax(1).gather(1, tokens)
    torch.testing.assert_close(runner.log_probs(features, tokens), expected)


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


@pytest.mark.parametrize("chunk", [VOCAB, 7 * VOCAB])
def test_log_probs_in_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gti_cli.decoding.runner._LOGITS_AT_ONCE", chunk)
    runner = make_runner(make_model("gemma2", VOCAB, seed=3))
    logits = torch.randn(11, VOCAB)
    tokens = torch.randint(VOCAB, (11, 5))
    torch.testing.assert_close(runner.log_probs(logits, tokens), logits.log_softmax(1).gather(1, tokens))


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5))
def test_shared_prefix(prompts: list[list[int]]) -> None:
    length = shared_prefix_length(prompts)
    same = [len({tuple(p[:n]) for p in prompts}) == 1 for n in range(min(map(len, prompts)))]
    assert length == max(n for n, alike in enumerate(same) if alike)


@given(st.lists(st.lists(st.sampled_from([-np.inf, 0.0, 1.0, 2.0]), min_size=6, max_size=6), min_size=1, max_size=4))
def test_best_is_a_stable_sort(rows: list[list[float]]) -> None:
    for k in (1, 3, 6, 9):
        values, columns = stable_topk(torch.tensor(rows), k)
        for row, scores in enumerate(rows):
            order = sorted(range(6), key=lambda column: -scores[column])[:k]
            assert columns[row].tolist() == order
            assert values[row].tolist() == [scores[column] for column in order]


def test_models_without_a_cache_of_keys_and_values_are_refused() -> None:
    with pytest.raises(InputError, match="MambaForCausalLM takes no key-value cache"):
        make_runner(make_model("mamba", VOCAB))


def test_adapters_are_seen_through() -> None:
    from peft import LoraConfig, get_peft_model

    codes, prompts = case(1, items=25, levels=3, prompts=3)
    adapted = get_peft_model(make_model("qwen3", VOCAB, seed=3), LoraConfig(target_modules=["q_proj", "down_proj"]))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    trie, ids = build_trie(codes), token_ids(3)
    assert make_runner(adapted).abilities.tree_masks
    found = beam_search(adapted.eval(), prompts, TrieTensors(trie, ids, CPU), 40, PAD)
    for row, prompt in enumerate(prompts):
        expected = np.sort(every_score(adapted, prompt, trie, ids))[::-1]
        np.testing.assert_allclose(found.scores[row, : trie.leaves], expected, atol=1e-4)
