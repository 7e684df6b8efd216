"""The objective against Algorithm 1 as the paper writes it, and the models that take no stored prefix."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gti_cli.grounding.nll import objective as module
from gti_cli.grounding.nll.batches import Collator
from gti_cli.grounding.nll.corpus import divide_examples
from gti_cli.grounding.nll.objective import GroundingModel, KeptContexts, has_plain_cache
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.examples import Example
from tests.support.grounding import MODELS, NEW_IDS, OLD, PAD, algorithm_1, examples_of, masked_loss, model_of
from tests.support.two_devices import DEVICE, TwoDevices


def train_rows(model: Any, batches: list[list[int]], data: Any, rate: float, *, whole: bool, decay: float = 0.0) -> Any:
    """Train the new rows with plain torch; returns the losses."""
    corpus = divide_examples(*data, set(NEW_IDS.tolist()), whole=whole)
    collator = Collator(corpus, PAD)
    rows = NewRows(model, NEW_IDS)
    trained = GroundingModel(model, rows, corpus.prefixes)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=rate, weight_decay=decay)
    losses = []
    with rows.attached():
        for batch in batches:
            optimizer.zero_grad()
            loss, count = trained(**collator(batch))
            (loss / count).backward()
            optimizer.step()
            losses.append((loss / count).item())
    return losses


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_equals_algorithm_1(kind: str, tied: bool, whole: bool) -> None:
    data = examples_of(40)
    batches = [list(range(n % 5 * 8, n % 5 * 8 + 8)) for n in range(20)]
    reference, ours = model_of(kind, tied), model_of(kind, tied)
    before = {name: weight.detach().clone() for name, weight in ours.named_parameters()}
    expected = algorithm_1(reference, [[data[0][n] for n in batch] for batch in batches], 0.01)
    losses = train_rows(ours, batches, data, 0.01, whole=whole)
    assert losses == pytest.approx(expected, abs=1e-4)
    wanted = dict(reference.named_parameters())
    head = ours.get_output_embeddings()
    trained = {id(ours.get_input_embeddings().weight), id(head.weight), id(getattr(head, "bias", None))}
    for name, weight in ours.named_parameters():
        if id(weight) in trained:
            assert torch.equal(weight[:OLD], before[name][:OLD]), name
            assert (weight[OLD:] - wanted[name][OLD:]).abs().max() <= 1e-5, name
            assert not torch.equal(weight[OLD:], before[name][OLD:]), name
        else:
            assert torch.equal(weight, before[name]), name


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_weight_decay_moves_no_old_row(kind: str, tied: bool) -> None:
    data = examples_of(16)
    model = model_of(kind, tied)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    train_rows(model, [list(range(16))] * 5, data, 0.01, whole=False, decay=0.5)
    head = model.get_output_embeddings()
    trained = {id(model.get_input_embeddings().weight), id(head.weight), id(getattr(head, "bias", None))}
    for name, weight in model.named_parameters():
        old = OLD if id(weight) in trained else len(weight)
        assert torch.equal(weight[:old], before[name][:old]), name
        assert old == len(weight) or not torch.equal(weight[old:], before[name][old:]), name


def test_a_model_with_a_window_or_a_state_is_computed_whole() -> None:
    model = model_of("gemma2")
    assert has_plain_cache(model, 64) and not has_plain_cache(model, 65)
    assert has_plain_cache(model_of("qwen3"), 100_000)


@pytest.mark.parametrize(
    ("config", "model", "plain"),
    [
        ({}, {}, True),
        ({"layer_types": None, "sliding_window": None}, {"_is_stateful": False}, True),
        ({"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 64}, {}, True),
        ({"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 63}, {}, False),
        ({"layer_types": ["full_attention", "linear_attention"]}, {}, False),
        ({"layer_types": ["full_attention"]}, {"_is_stateful": True}, False),
    ],
)
def test_a_plain_cache_is_told_from_the_configuration(
    config: dict[str, Any], model: dict[str, Any], plain: bool
) -> None:
    whole = SimpleNamespace(get_text_config=lambda: SimpleNamespace(**config))
    assert has_plain_cache(SimpleNamespace(config=whole, **model), 64) == plain  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", [True, False])
def test_losses_and_predictions_are_those_of_whole_sequences(rule: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("qwen3")
    # One template's examples have no common beginning, so it has no prefix; another's is one token long.
    examples = [Example([14 + n, 20, 3], [OLD + n, OLD + 7, 2]) for n in range(3)]
    examples += [Example([5, 20 + n, 3], [OLD + n, 30, 2]) for n in range(3)]
    templates = [0, 0, 0, 1, 1, 1]
    expected = masked_loss(model, examples)
    best = []
    for example in examples:
        with torch.no_grad():
            logits = model(torch.tensor([example.prompt + example.answer])).logits[0]
        best.append(logits[len(example.prompt) - 1 : -1].argmax(1).tolist())
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, [0] * 6, set(NEW_IDS.tolist()))
    assert corpus.prefixes == [[], [5]]
    tried: list[int] = []
    find = module.find_logit_rule
    monkeypatch.setattr(module, "find_logit_rule", lambda *given: tried.append(1) or (find(*given) if rule else None))
    (group,) = Collator(corpus, PAD)(range(6))["groups"]
    with rows.attached():
        trained = GroundingModel(model, rows, corpus.prefixes)
        loss, count = trained([group])
        summed, targets, found = trained.predict([group])
    assert int(count) == 18 and len(tried) == 1
    torch.testing.assert_close(loss / count, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(summed, loss)
    # First what is predicted in contexts, the first token of each answer; then the others.
    answers = [example.answer for example in examples]
    for mine, of_examples in ((targets, answers), (found, best)):
        later = [token for tokens in of_examples for token in tokens[1:]]
        assert mine.tolist() == [*(tokens[0] for tokens in of_examples), *later]


def test_a_model_that_begins_with_the_span_is_given_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("qwen3")
    rows = NewRows(model, NEW_IDS)
    given: list[dict[str, Any]] = []
    original = model.forward
    for whole, expected in ((True, [False]), (False, [True, True, True])):
        corpus = divide_examples(*examples_of(4), set(NEW_IDS.tolist()), whole=whole)
        batch = Collator(corpus, PAD)([n for n in range(4) if corpus.groups[n] == 0])
        with rows.attached():
            trained = GroundingModel(model, rows, corpus.prefixes)
            assert trained.rule is not None
            monkeypatch.setattr(model, "forward", lambda **more: given.append(more) or original(**more))
            trained(**batch)
            monkeypatch.setattr(model, "forward", original)
        assert [more["use_cache"] for more in given] == expected
        assert [more.get("past_key_values") is not None for more in given] == expected
        given.clear()


def test_what_is_kept_of_contexts_gives_the_same_states(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("qwen3")
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(*examples_of(12), set(NEW_IDS.tolist()))
    computed: list[int] = []
    compute = GroundingModel._compute_context
    monkeypatch.setattr(GroundingModel, "_compute_context", lambda *given: computed.append(1) or compute(*given))
    halves = [Collator(corpus, PAD)(numbers)["groups"][0] for numbers in (range(6), range(6, 12))]
    later = [{**group, "predict_in_context": group["predict_in_context"][:0]} for group in halves]
    contexts = KeptContexts(2**20)
    with rows.attached():
        trained = GroundingModel(model, rows, corpus.prefixes)
        expected = [trained.states(group) for group in (*halves, *halves, *later)]
        assert len(computed) == 6
        computed.clear()
        names = ["first", "second"]
        found = [
            trained.states(group, contexts, name)
            for group, name in zip((*halves, *halves, *later), names * 3, strict=True)
        ]
    # States that predict in a context are computed again, for they are not kept.
    assert len(computed) == 4
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine, theirs)


def test_contexts_are_kept_while_there_is_room() -> None:
    layer = SimpleNamespace(keys=torch.zeros(2, 3), values=torch.zeros(2, 3, dtype=torch.float64))
    before: Any = (torch.ones(1), torch.ones(1), SimpleNamespace(layers=[layer]))  # 24 + 48 bytes
    contexts = KeptContexts(2 * 72 + 71)
    for name in ("a", "a", "b", "c"):
        contexts.keep(name, before)
    assert [contexts.find(name) is before for name in "abc"] == [True, True, False]
    exactly = KeptContexts(72)
    exactly.keep("a", before)
    assert exactly.find("a") is before
    nothing: Any = (torch.ones(1), torch.ones(1), None)
    exactly.keep("b", nothing)
    assert exactly.find("b") is nothing


def test_adapters_allow_no_prefix() -> None:
    model = model_of("qwen3")
    adapters: Any = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="divide no examples"):
        GroundingModel(model, NewRows(model, NEW_IDS), [[], [5]], adapters)
    trained = GroundingModel(model, NewRows(model, NEW_IDS), [[], []], adapters)
    assert trained.adapters is adapters and not any(name.startswith("_model") for name in trained.state_dict())


def test_all_tensors_are_on_the_models_device() -> None:
    model = model_of("qwen3")
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(*examples_of(8), set(NEW_IDS.tolist()))
    with rows.attached():
        expected = float(GroundingModel(model, rows, corpus.prefixes)(**Collator(corpus, PAD)(range(8)))[0].detach())
        with TwoDevices():
            groups = Collator(corpus, PAD)(range(8))["groups"]
            groups = [{name: value.to(DEVICE) for name, value in group.items()} for group in groups]
            trained = GroundingModel(model, rows, corpus.prefixes)
            for batch in (groups, []):
                loss, count = trained(batch)
                assert TwoDevices.is_on_device(loss) and TwoDevices.is_on_device(count)
                assert loss.item() == pytest.approx(expected if batch else 0.0, rel=1e-6)


HYBRIDS: list[tuple[str, dict[str, Any]]] = [
    ("lfm2", {"layer_types": ["conv", "full_attention"]}),
    ("bamba", {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_chunk_size": 16, "attn_layer_indices": [1]}),
    ("mamba", {}),
]


@pytest.mark.parametrize(("kind", "more"), HYBRIDS)
def test_models_that_keep_a_state_are_computed_whole(kind: str, more: dict[str, Any]) -> None:
    data = examples_of(16)
    reference, ours = model_of(kind, **more), model_of(kind, **more)
    assert not has_plain_cache(ours, 64)
    batches = [list(range(8)), list(range(8, 16))] * 2
    expected = algorithm_1(reference, [[data[0][n] for n in batch] for batch in batches], 0.01)
    assert train_rows(ours, batches, data, 0.01, whole=True) == pytest.approx(expected, abs=1e-4)
    rows, wanted = (model.get_input_embeddings().weight for model in (ours, reference))
    assert (rows - wanted).abs().max() <= 1e-5


@pytest.mark.parametrize("whole", [False, True])
def test_batches_in_lockstep_run_the_model_equally_often_and_count_the_same(whole: bool) -> None:
    examples, templates, groups = examples_of(30)
    model = model_of("qwen3")
    rows = NewRows(model, NEW_IDS)
    corpus = divide_examples(examples, templates, groups, set(NEW_IDS.tolist()), whole=whole)
    usual, lockstep = Collator(corpus, PAD), Collator(corpus, PAD, lockstep=True)
    both = [next(n for n, group in enumerate(groups) if group == wanted) for wanted in (0, 1)]
    runs: list[int] = []
    model.model.layers[0].register_forward_hook(lambda *_: runs.append(1))
    with rows.attached():
        counted = []
        for places in ([], [both[0]], [both[1]], both, list(range(30))):
            trained = GroundingModel(model, rows, corpus.prefixes)
            trained(**lockstep(both))  # prefixes are computed, and the rule is tried, once
            runs.clear()
            loss, count = trained(**lockstep(places))
            counted.append(len(runs))
            expected, number = trained(**usual(places))
            assert count == number and loss.item() == pytest.approx(expected.item(), abs=1e-4)
            gradients = [torch.autograd.grad(part, rows.embedding)[0] for part in (loss, expected)]
            assert torch.allclose(*gradients, atol=1e-5)
    assert len(set(counted)) == 1
