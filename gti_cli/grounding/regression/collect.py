"""One pass of the frozen model: the hidden states that predict the answers' tokens at some places.

The token at place l of an answer is predicted behind the prompt and the l tokens before it. So a pass reads examples
that end at the last place that is wanted. Nothing needs autograd, and the batches are as wide as memory for activations
allows. All passes have the same batches, so the keys and values of prompts can be kept from one pass to the next.

Batches are computed by `nll.objective`, with the template prefixes of the whole run. Each batch is summed up on the
model's device at once: what is kept are its hidden states and three numbers a position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from gti_cli.grounding.nll.batches import Collator, GroupTensors
from gti_cli.grounding.nll.corpus import Corpus
from gti_cli.grounding.nll.head_loss import LogitRule
from gti_cli.grounding.nll.objective import GroundingModel, KeptContexts
from gti_cli.grounding.regression.kept_states import StateStore
from gti_cli.grounding.regression.positions import Positions, old_log_sum_exp, widen
from gti_cli.prompts.examples import Example

BATCH = 64  # examples; without autograd, activations of one layer at a time are alive


def batches_by_length(corpus: Corpus, numbers: Sequence[int], size: int = BATCH) -> list[list[int]]:
    """Arrange examples in batches of similar length, shortest first.

    Args:
        corpus: The examples.
        numbers: Which of them to arrange.
        size: Examples in a batch.

    Returns:
        The numbers of the examples in each batch.
    """
    lengths = corpus.computed_lengths()
    in_order = sorted(numbers, key=lambda number: (lengths[number], number))
    return [in_order[first : first + size] for first in range(0, len(in_order), size)]


@torch.no_grad()
def collect(
    trained: GroundingModel,
    corpus: Corpus,
    batches: Sequence[Sequence[int]],
    places: Sequence[int],
    rule: LogitRule,
    pad: int,
    store: StateStore,
    name: str = "",
    contexts: KeptContexts | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Positions]:
    """Compute the positions that predict the answers' tokens at some places.

    Args:
        trained: The frozen model, with new rows attached that hold their values behind which to compute.
        corpus: The examples. Answers that are too short for a place have no position there.
        batches: Numbers of the examples to compute together, see `batches_by_length`.
        places: Numbers of the tokens in their answers, from 0, in ascending order.
        rule: What the model does to its head's output.
        pad: Token id that fills rows up.
        store: Where the hidden states go.
        name: What they are called there; the place is put behind it.
        contexts: Keys and values of prompts (None: every pass computes them).
        advance: Called with the number of examples of each finished batch.

    Returns:
        The positions of each place, in the order of the batches, in the model's number format.
    """
    head, ids = trained.rows.head, trained.rows.ids
    width, dtype = head.weight.shape[1], head.weight.dtype
    answers = [len(corpus.examples[number].answer) for batch in batches for number in batch]
    states = {
        place: store.make(f"{name}{place}", sum(length > place for length in answers), width, dtype) for place in places
    }
    filled = dict.fromkeys(places, 0)
    numbers: dict[int, list[tuple[torch.Tensor, ...]]] = {place: [] for place in places}
    mode = trained.training
    trained.eval()
    for batch_number, batch in enumerate(batches):
        for group, place_of, starts in _groups(corpus, batch, places, pad):
            on_device = {key: value.to(ids.device) for key, value in group.items()}
            computed = trained.states(on_device, contexts, (batch_number, starts))
            summed = _summed_up(trained, computed, on_device["targets"], rule)
            for place in places:
                chosen = (place_of == place).nonzero().squeeze(1)
                states[place][filled[place] : filled[place] + len(chosen)] = computed[chosen.to(ids.device)]
                filled[place] += len(chosen)
                numbers[place].append(tuple(part[chosen] for part in summed))
        advance(len(batch))
    trained.train(mode)
    nothing = torch.zeros(0, dtype=torch.float64)
    collected = []
    for place in places:
        old, targets, own = (
            torch.cat(parts) for parts in zip((nothing, nothing.long(), nothing), *numbers[place], strict=True)
        )
        store.finish(f"{name}{place}", states[place], {"old": old, "targets": targets, "own": own})
        collected.append(Positions(states[place], *(part.to(store.device) for part in (old, targets, own))))
    return collected


def _summed_up(
    trained: GroundingModel, states: torch.Tensor, tokens: torch.Tensor, rule: LogitRule
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The numbers (m,) of `Positions` for hidden states that predict ``tokens``, on the CPU."""
    head, ids = trained.rows.head, trained.rows.ids
    number_of = torch.full((len(head.weight),), -1, device=ids.device)
    number_of[ids] = torch.arange(len(ids), device=ids.device)
    targets = number_of[tokens]
    bias = 0.0 if head.bias is None else head.bias[tokens]
    # The predicted tokens' own logits, by one row for each position instead of the whole head.
    own = widen(rule, (states * head.weight[tokens]).sum(1) + bias).double()
    old = old_log_sum_exp(states, head.weight, head.bias, ids, rule)
    return old.cpu(), targets.cpu(), torch.where(targets >= 0, 0.0, own).cpu()


def _groups(
    corpus: Corpus, batch: Sequence[int], places: Sequence[int], pad: int
) -> Iterator[tuple[GroupTensors, torch.Tensor, tuple[int, ...]]]:
    """The groups of a batch that predict the given places alone.

    Yields:
        A group; the place (m,) of each of its positions; where the target span of each of its examples starts.
    """
    ended = _ended(corpus, batch, max(places))
    by_group: dict[int, list[int]] = {}
    for number, key in enumerate(ended.groups):
        by_group.setdefault(key, []).append(number)
    for key, group in zip(sorted(by_group), Collator(ended, pad)(range(len(batch)))["groups"], strict=True):
        in_context: list[int] = []
        in_span: list[int] = []
        for number in by_group[key]:
            example, start = ended.examples[number], ended.span_starts[number]
            for place in range(len(example.answer)):
                (in_context if len(example.prompt) - 1 + place < start else in_span).append(place)
        place_of = torch.tensor(in_context + in_span)
        wanted = torch.isin(place_of, torch.tensor(places))
        if not wanted.any():
            continue
        divided = len(in_context)
        yield (
            {
                **group,
                "predict_in_context": group["predict_in_context"][wanted[:divided]],
                "predict_in_span": group["predict_in_span"][wanted[divided:]],
                "targets": group["targets"][wanted],
            },
            place_of[wanted],
            tuple(ended.span_starts[number] for number in by_group[key]),
        )


def _ended(corpus: Corpus, numbers: Sequence[int], place: int) -> Corpus:
    """Some examples of a corpus as a corpus of their own, whose answers end at a place."""
    examples, starts = [], []
    for number in numbers:
        whole = corpus.examples[number]
        example = Example(whole.prompt, whole.answer[: place + 1])
        examples.append(example)
        # The last input belongs to the target span, also where the example has no new token before it.
        starts.append(min(corpus.span_starts[number], len(example) - 2))
    templates, groups = ([of[number] for number in numbers] for of in (corpus.templates, corpus.groups))
    return Corpus(examples, templates, groups, corpus.prefixes, starts)
