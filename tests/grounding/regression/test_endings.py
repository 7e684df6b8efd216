"""The vector of the rows that end answers: which rows it moves, and that the end of the turn gains from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from gti_cli.grounding.nll.batches import Collator
from gti_cli.grounding.nll.corpus import divide_examples
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.regression import endings as module
from gti_cli.grounding.regression.endings import BATCH, ending_rows, shift_endings
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.examples import Example
from gti_cli.training.batches.batch_plan import BatchPlan
from tests.support.grounding import NEW_IDS, OLD, PAD, masked_loss, model_of
from tests.support.regression import to_tokens
from tests.support.two_devices import TwoDevices


def test_rows_that_end_answers() -> None:
    ids = torch.tensor([20, 21, 22, 23, 24])
    answers = [[20, 21, 2], [21, 22, 5, 2], [3, 2], [20, 23], [24, 6, 20, 2]]
    # 23 ends an answer behind which nothing is predicted.
    assert ending_rows(answers, ids).tolist() == [0, 1, 2]


def test_one_vector_moves_these_rows_and_the_end_is_probable_again() -> None:
    examples, templates = to_tokens(60)
    model = model_of("qwen3")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, [0] * 60, set(NEW_IDS.tolist()))
    losses = [float(masked_loss(model, examples).detach())]
    with rows.attached():
        trained = GroundingModel(model, rows, corpus.prefixes)
        assert shift_endings(trained, Collator(corpus, PAD), 0.05, 0) == 4
        assert all(parameter.grad is None for parameter in trained.parameters())
    losses.append(float(masked_loss(model, examples).detach()))
    assert losses[1] < losses[0] - 0.5
    weight = model.get_output_embeddings().weight
    moved = (weight - before["lm_head.weight"]).detach()
    assert not moved[: OLD + 8].any() and moved[OLD + 8 :].any()
    torch.testing.assert_close(moved[OLD + 8 :], moved[OLD + 8 :].mean(0).expand(4, -1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("last_codes", [1, 4])
def test_every_step_is_adams_on_the_plain_loss(last_codes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    examples, templates = to_tokens(20)
    for example in examples:
        example.answer[2] = OLD + 8 + example.answer[2] % last_codes
    ids = torch.arange(OLD + 8, OLD + 8 + last_codes)
    corpus = divide_examples(examples, templates, [0] * 20, set(NEW_IDS.tolist()))
    # The same steps on the whole matrix, whose gradient at the rows is summed up by hand.
    plain = model_of("qwen3")
    weight = plain.get_input_embeddings().weight
    fitted = weight.detach()[ids].clone()
    shift = torch.zeros(fitted.shape[1], requires_grad=True)
    adam = torch.optim.Adam([shift], lr=0.05)
    plan = BatchPlan(corpus.computed_lengths(), [1] * 20, size=BATCH, epochs=1.0, max_steps=4, seed=3)
    for factor, batch in zip((1.0, 1.0, 0.75, 0.375), plan, strict=True):
        loss = masked_loss(plain, [examples[number] for number in batch])
        shift.grad = torch.autograd.grad(loss, weight)[0][ids].sum(0)
        adam.param_groups[0]["lr"] = 0.05 * factor
        adam.step()
        weight.data[ids] = fitted + shift.detach()

    shown: list[Any] = []

    @contextmanager
    def progress(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        shown.append((what, total, unit))
        yield shown.append

    monkeypatch.setattr(module.console, "progress", progress)
    model = model_of("qwen3")
    rows = NewRows(model, NEW_IDS)
    with rows.attached(), TwoDevices():
        trained = GroundingModel(model, rows, corpus.prefixes).eval()
        assert shift_endings(trained, Collator(corpus, PAD), 0.05, 3, steps=4) == last_codes
        assert not trained.training and all(parameter.grad is None for parameter in trained.parameters())
    torch.testing.assert_close(model.get_input_embeddings().weight, weight, rtol=0, atol=2e-4)
    assert shown == [("Ends of answers", 4, "steps"), 1, 1, 1, 1]


def test_two_processes_share_a_batch_and_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    examples, templates = to_tokens(9)
    corpus = divide_examples(examples, templates, [0] * 9, set(NEW_IDS.tolist()))
    model = model_of("qwen3")
    weight = model.get_input_embeddings().weight
    ends = sorted({example.answer[2] for example in examples})
    gradient = torch.autograd.grad(masked_loss(model, examples), weight)[0][ends].sum(0)
    sums: list[torch.Tensor] = []
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda part: sums.append(part.clone()))
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        model = model_of("qwen3")
        rows = NewRows(model, NEW_IDS)
        with rows.attached():
            shift_endings(GroundingModel(model, rows, corpus.prefixes), Collator(corpus, PAD), 0.05, 0, steps=1)
    # The sums of each process, with the number of its tokens behind them.
    first, second = sums
    assert first[-1] + second[-1] == 36 and first[-1] in (16, 20)
    torch.testing.assert_close((first + second)[:-1] / 36, gradient, rtol=1e-3, atol=1e-5)


def test_answers_without_an_end_stay_as_they_are() -> None:
    examples, templates = to_tokens(4)
    examples = [Example(example.prompt, example.answer[:3]) for example in examples]
    model = model_of("qwen3")
    weight = model.get_output_embeddings().weight.clone()
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, [0] * 4, set(NEW_IDS.tolist()))
    with rows.attached():
        assert shift_endings(GroundingModel(model, rows, corpus.prefixes), Collator(corpus, PAD), 0.05, 0) == 0
    assert torch.equal(model.get_output_embeddings().weight, weight)
