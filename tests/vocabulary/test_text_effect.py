"""The effect of new rows on ordinary text, against the definitions of share and divergence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax

from gti_cli.vocabulary.in_memory import add_tokens
from gti_cli.vocabulary.text_effect import ORDINARY_TEXT, TextEffect, measure_text_effect
from gti_cli.vocabulary.tokens_to_add import TokensToAdd
from tests.support.models import make_model, make_tokenizer

NAMES = ["<x>", "<y>", "<z>"]


@pytest.mark.parametrize("reserve", [0, 2, 20])
def test_share_and_divergence_by_their_definitions(reserve: int) -> None:
    """KL over the two whole distributions, against the model before the extension."""
    tokenizer = make_tokenizer()
    size = len(tokenizer)
    base = make_model("llama", size + reserve)
    model = make_model("llama", size + reserve)
    added = add_tokens(model, tokenizer, TokensToAdd(NAMES), "random", torch.Generator().manual_seed(0))
    shares, divergences = [], []
    for text in ORDINARY_TEXT[:2]:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            old = softmax(base(ids).logits[0, :, :size].double().numpy(), axis=-1)
            new = softmax(model(ids).logits[0, :, : size + 3].double().numpy(), axis=-1)
        shares.append(new[:, added.tokens.ids].sum(1))
        divergences.append((old * np.log(old / new[:, :size])).sum(1))
    found = measure_text_effect(model, tokenizer, torch.from_numpy(added.tokens.ids), ORDINARY_TEXT[:2])
    assert found.share == pytest.approx(np.concatenate(shares).mean(), abs=1e-6)
    assert found.divergence == pytest.approx(np.concatenate(divergences).mean(), abs=1e-6)


def test_a_large_share_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    TextEffect(0.3, 0.4).warn_if_large("random")
    assert "30.0% of the probability" in capsys.readouterr().err
    TextEffect(0.001, 0.001).warn_if_large("mean")
    assert capsys.readouterr().err == ""


def test_mean_rows_take_less_than_random_ones() -> None:
    found = {}
    for init in ("mean", "random"):
        tokenizer, model = make_tokenizer(), make_model("llama")
        names = [f"<n{n}>" for n in range(50)]
        added = add_tokens(model, tokenizer, TokensToAdd(names), init, torch.Generator().manual_seed(0))
        found[init] = measure_text_effect(model, tokenizer, torch.from_numpy(added.tokens.ids))
    assert found["mean"].divergence < found["random"].divergence
