"""The abilities of a model are found by trying it, once, and an adapter around it does not hide them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gti_cli.decoding import architecture_probe
from gti_cli.decoding.architecture_probe import make_runner
from gti_cli.decoding.beam import TrieTensors, beam_search
from gti_cli.decoding.runner import Abilities
from gti_cli.decoding.trie import build_trie
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
    """A head whose output is not its matrix alone."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(hidden)


def test_a_model_is_tried_once_and_again_with_another_head(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("qwen3", VOCAB, seed=3)
    trials = []
    monkeypatch.setattr(architecture_probe, "_follows_tree_masks", lambda _: trials.append(1) or True)
    assert all(make_runner(model).abilities.linear_head for _ in range(2)) and len(trials) == 1
    head = Doubled(32, VOCAB, bias=False)
    model.set_output_embeddings(head)
    runner = make_runner(model)
    assert (runner.abilities.split_head, runner.abilities.linear_head, len(trials)) == (True, False, 2)
    features, tokens = torch.randn(5, 32), torch.randint(VOCAB, (5, 4))
    expected = head(features).log_softmax(1).gather(1, tokens)
    torch.testing.assert_close(runner.log_probs(features, tokens), expected)


def test_a_trial_that_fails_means_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(runner: object) -> bool:
        raise RuntimeError("no such mask")

    monkeypatch.setattr(architecture_probe, "_follows_tree_masks", broken)
    abilities = make_runner(make_model("qwen3", VOCAB, seed=3)).abilities
    assert abilities == Abilities(split_head=True, linear_head=True, tree_masks=False)


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
