"""The objective against two full forward passes for each example, and what it trains and leaves alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from gti_cli.errors import InputError
from gti_cli.grounding.distil import task
from gti_cli.grounding.distil.batches import DistilCollator, DistilCorpus
from gti_cli.grounding.distil.measures import distance_report
from gti_cli.grounding.distil.objective import DistilModel, check_layer, hidden_loss
from gti_cli.grounding.trainable_rows import NewRows
from tests.support.distillation import collated, random_corpus, states_of
from tests.support.grounding import NEW_IDS, OLD, PAD, model_of

MODELS = [("qwen3", True), ("llama", False), ("gpt2", True), ("phi", False), ("gemma2", True), ("opt", True)]


def naive_loss(model: Any, corpus: DistilCorpus, layer: int | None, weight: float) -> tuple[torch.Tensor, int]:
    """One example at a time, nothing padded, nothing shared."""
    total, count = torch.zeros(()), 0
    for example in corpus.examples:
        width = example.shared + 1
        with torch.no_grad():
            wanted = states_of(model, example.teacher, layer)[0][-width:]
        found, logits = states_of(model, example.student, layer)
        total = total + ((found[-width:] - wanted) ** 2).mean(1).sum()
        targets = torch.tensor(example.student[example.first :])
        chances = functional.log_softmax(logits[example.first - 1 : -1], dim=-1)
        total = total - weight * chances[torch.arange(len(targets)), targets].sum()
        count += width
    return total, count


@pytest.mark.parametrize(("layer", "weight"), [(None, 0.0), (1, 0.0), (None, 0.5)])
@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_loss_and_gradient_equal_two_passes_for_each_example(
    kind: str, tied: bool, layer: int | None, weight: float
) -> None:
    corpus = random_corpus(15)
    reference, ours = model_of(kind, tied), model_of(kind, tied)
    expected, positions = naive_loss(reference, corpus, layer, weight)
    (expected / positions).backward()
    rows = NewRows(ours, NEW_IDS)
    trained = DistilModel(ours, rows, layer=layer, nll_weight=weight)
    with rows.attached():
        loss, count = trained(**collated(corpus))
        (loss / count).backward()
    assert count == positions
    assert loss.item() / positions == pytest.approx(expected.item() / positions, rel=1e-5)
    wanted: Any = reference.get_input_embeddings().weight.grad[OLD:]
    assert (rows.embedding.grad - wanted).abs().max() <= 1e-5  # type: ignore[operator]
    head = reference.get_output_embeddings()
    for ours_, theirs in ((rows.output, head.weight), (rows.bias, getattr(head, "bias", None))):
        if ours_ is None:
            continue
        assert ours_.requires_grad == bool(weight)
        if weight:
            assert (ours_.grad - theirs.grad[OLD:]).abs().max() <= 1e-5


@pytest.mark.parametrize("kind", ["qwen3", "gemma2"])
def test_states_that_are_kept_are_those_of_each_batch(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "BATCH", 4)
    model, corpus = model_of(kind, True), random_corpus(15)
    rows, collator = NewRows(model, NEW_IDS), DistilCollator(corpus, PAD)
    trained = DistilModel(model, rows, layer=1)
    calls: list[int] = []
    read = trained._read
    monkeypatch.setattr(trained, "_read", lambda ids, *rest: calls.append(len(ids)) or read(ids, *rest))
    with rows.attached():
        expected = [trained(**collator([n, 14 - n]))[0].item() for n in range(15)]
        calls.clear()
        collator.teacher_states = task.keep_teacher_states(trained, collator, torch.device("cpu"), 1e9)
        assert calls == [4, 4, 4, 3]
        found = [trained(**collator([n, 14 - n]))[0].item() for n in range(15)]
        assert len(calls) == 4 + 15  # only the student reads again
        assert found == pytest.approx(expected, rel=1e-4)
        assert task.keep_teacher_states(trained, collator, torch.device("cpu"), 1e3) is None


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize(("kind", "tied"), [("qwen3", True), ("phi", False)])
def test_old_weights_keep_their_bits(kind: str, tied: bool, weight: float) -> None:
    model, corpus = model_of(kind, tied), random_corpus(12)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    rows = NewRows(model, NEW_IDS)
    trained = DistilModel(model, rows, nll_weight=weight)
    wanted = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(wanted, lr=0.05, weight_decay=0.5)
    with rows.attached():
        for _ in range(5):
            optimizer.zero_grad()
            trained(**collated(corpus))[0].backward()
            optimizer.step()
    head = model.get_output_embeddings()
    of_head = {id(head.weight), id(getattr(head, "bias", None))}
    for name, value in model.named_parameters():
        if value is model.get_input_embeddings().weight or id(value) in of_head:
            assert torch.equal(value[:OLD], before[name][:OLD]), name
            moves = value is model.get_input_embeddings().weight or weight > 0
            assert torch.equal(value[OLD:], before[name][OLD:]) != moves, name
        else:
            assert torch.equal(value, before[name]), name


def test_learned_from_random_comes_nearer_than_the_mean_of_the_pieces() -> None:
    """On contexts that were not trained on; the start `subword` is the mean of the phrase's rows."""
    rng = np.random.default_rng(3)
    phrases = [rng.integers(5, OLD, 3).tolist() for _ in NEW_IDS]
    train, unseen = random_corpus(96, 1, phrases), random_corpus(48, 2, phrases)
    distances = {}
    for start in ("subword", "random"):
        model = model_of("qwen3")
        with torch.no_grad():
            matrix = model.get_input_embeddings().weight
            if start == "subword":
                matrix[NEW_IDS] = torch.stack([matrix[phrase].mean(0) for phrase in phrases])
        rows = NewRows(model, NEW_IDS)
        trained = DistilModel(model, rows)
        collator = DistilCollator(unseen, PAD)
        with rows.attached():
            before = distance_report(trained, collator, range(48), torch.device("cpu"))["hidden_distance"]
            optimizer = torch.optim.AdamW([rows.embedding], lr=0.02, weight_decay=0.0)
            for _ in range(150 if start == "random" else 0):
                optimizer.zero_grad()
                loss, count = trained(**collated(train))
                (loss / count).backward()
                optimizer.step()
            after = distance_report(trained, collator, range(48), torch.device("cpu"))["hidden_distance"]
        distances[start] = (before, after)
    assert distances["random"][0] > distances["subword"][0] > distances["random"][1]


def test_a_layer_that_is_not_there() -> None:
    model = model_of("qwen3")
    check_layer(model, None)
    check_layer(model, 2)
    for layer in (0, 3, -1):
        with pytest.raises(InputError, match=f"--distil-layer is {layer}"):
            check_layer(model, layer)


def test_hidden_loss_is_the_mean_over_coordinates_and_the_sum_over_positions() -> None:
    found, wanted = torch.zeros(3, 4), torch.full((3, 4), 2.0)
    assert hidden_loss(found, wanted) == 3 * 4.0
