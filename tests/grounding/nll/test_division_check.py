"""The trial of divided examples: models that pass it, and attention that counts columns, which must not."""

from __future__ import annotations

import pytest
import torch

from gti_cli.grounding.nll.corpus import Corpus, divide_examples
from gti_cli.grounding.nll.division_check import computes_divided
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.examples import Example
from tests.support.grounding import NEW_IDS, OLD, PAD, VOCAB, examples_of, model_of
from tests.support.models import make_model


def corpora(examples: list[Example], templates: list[int], groups: list[int]) -> tuple[Corpus, Corpus]:
    new = set(NEW_IDS.tolist())
    return divide_examples(examples, templates, groups, new), divide_examples(
        examples, templates, groups, new, whole=True
    )


@pytest.mark.parametrize("kind", ["qwen3", "llama", "mistral", "gemma2", "gpt2", "gpt_neox", "opt", "phi", "cohere"])
def test_models_with_position_numbers_compute_divided_examples(kind: str) -> None:
    model = model_of(kind)
    rows = NewRows(model, NEW_IDS)
    with rows.attached():
        assert computes_divided(model, rows, *corpora(*examples_of(30)), PAD)


def test_bfloat16_is_judged_by_its_own_rounding() -> None:
    model = model_of("qwen3").to(torch.bfloat16)
    rows = NewRows(model, NEW_IDS)
    with rows.attached():
        assert computes_divided(model, rows, *corpora(*examples_of(30)), PAD)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("mpt", {"n_heads": 4, "n_layers": 2, "d_model": 32, "max_seq_len": 128}),
        (
            "gpt_neo",
            {"attention_types": [[["local"], 2]], "window_size": 8, "num_layers": 2, "num_heads": 4, "hidden_size": 32},
        ),
    ],
)
def test_attention_that_counts_columns_fails(kind: str, more: dict[str, object], half: bool) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=VOCAB, **more)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(std=0.2)
    if half:
        model = model.to(torch.bfloat16)
    # One text of two tokens beside one of thirty: the short one stands far from its tokens.
    examples = [Example([5, *range(14, 14 + n), 3], [OLD, OLD + 3, OLD + 7, 2]) for n in (2, 30)]
    rows = NewRows(model, NEW_IDS)
    with rows.attached():
        assert not computes_divided(model, rows, *corpora(examples, [0, 0], [0, 0]), PAD)


def test_a_model_that_fails_in_the_trial_does_not_compute_it() -> None:
    model = make_model("qwen3", VOCAB)
    rows = NewRows(model, NEW_IDS)

    def fail(*_: object) -> None:
        raise IndexError("no layers")

    model.model.layers[0].register_forward_hook(fail)
    with rows.attached():
        assert not computes_divided(model, rows, *corpora(*examples_of(8)), PAD)
