"""The trial of divided examples: models that pass it, and attention that counts columns, which must not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gti_cli.grounding.nll import division_check as module
from gti_cli.grounding.nll.corpus import Corpus, divide_examples
from gti_cli.grounding.nll.division_check import computes_divided
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.examples import Example
from tests.support.grounding import NEW_IDS, OLD, PAD, VOCAB, examples_of, model_of
from tests.support.models import make_model
from tests.support.two_devices import TwoDevices


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


def test_the_longest_and_the_shortest_parts_of_each_group_are_tried() -> None:
    rng = np.random.default_rng(1)
    templates = rng.integers(0, 6, 60).tolist()
    prefixes = [[5] * length for length in (3, 9, 1, 30, 14, 20)]
    starts = [len(prefixes[template]) + int(rng.integers(1, 40)) for template in templates]
    examples = [Example([5] * (start + 1), [OLD] * int(rng.integers(1, 40))) for start in starts]
    corpus = Corpus(examples, templates, rng.integers(0, 3, 60).tolist(), prefixes, starts)
    expected = []
    for group in range(3):
        parts: list[list[tuple[int, int]]] = [[], [], []]
        for number, example in enumerate(corpus.examples):
            if corpus.groups[number] == group:
                prefix, start = len(corpus.prefixes[corpus.templates[number]]), corpus.span_starts[number]
                for part, length in zip(parts, (prefix, start - prefix, len(example) - start), strict=True):
                    part.append((length, number))
        ends = {end(part, key=lambda pair: pair[0])[1] for part in parts for end in (min, max)}
        expected.append(sorted(ends))
    assert module._extremes(corpus) == expected


@pytest.mark.parametrize(
    ("dtype", "errors", "passes"),
    [
        (torch.float32, [5e-4] * 4, True),
        (torch.float32, [2e-3] * 4, False),
        (torch.bfloat16, [0.06] * 4, True),
        (torch.bfloat16, [0.08] * 4, False),
        (torch.float32, [0.0, 0.0, 0.0, 9.0], True),  # the median counts
        (torch.float32, [0.0, 0.0, 9.0, 9.0], False),
        (torch.float32, [0.0, float("nan"), float("nan"), float("nan")], False),
    ],
)
@pytest.mark.parametrize("spread", [0.01, 100.0])
def test_the_median_position_is_judged_by_its_own_spread(
    dtype: torch.dtype, errors: list[float], passes: bool, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of("qwen3").to(dtype)
    rows = NewRows(model, NEW_IDS)
    alone = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 64)))
    spreads = torch.tensor([spread, spread, spread, 1e4])[:, None]
    alone = alone / alone.std(1, keepdim=True) * spreads
    sign = torch.tensor([1.0, -1.0]).repeat(32)
    together = alone + sign * torch.tensor(errors)[:, None] * spreads
    found = iter([together, alone])
    monkeypatch.setattr(module, "_states", lambda *_: next(found))
    examples = [Example([5, 14, 3], [OLD, OLD + 3, OLD + 7, 2])]
    assert computes_divided(model, rows, *corpora(examples, [0], [0]), PAD) == passes


def test_the_trial_is_on_the_models_device() -> None:
    model = model_of("qwen3")
    rows = NewRows(model, NEW_IDS)
    given = corpora(*examples_of(6))
    with rows.attached(), TwoDevices():
        assert computes_divided(model, rows, *given, PAD)


def test_a_model_that_fails_in_the_trial_does_not_compute_it() -> None:
    model = make_model("qwen3", VOCAB)
    rows = NewRows(model, NEW_IDS)

    def fail(*_: object) -> None:
        raise IndexError("no layers")

    model.model.layers[0].register_forward_hook(fail)
    with rows.attached():
        assert not computes_divided(model, rows, *corpora(*examples_of(8)), PAD)
