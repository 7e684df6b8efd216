"""One pass of the frozen model: the hidden states that predict the answers' tokens at one place.

The token at place l of an answer is predicted behind the prompt and the l tokens before it. So the pass for a place
reads examples that end there. Nothing needs autograd, and the batches are as wide as memory for activations allows.

Batches are computed by `nll.objective`, with the template prefixes of the whole run. Each batch is summed up on the
model's device at once: what is kept are its hidden states and three numbers a position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from gti_cli.grounding.nll.batches import Collator, GroupTensors
from gti_cli.grounding.nll.corpus import Corpus
from gti_cli.grounding.nll.head_loss import LogitRule
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.regression.positions import Positions, join, old_log_sum_exp, widen
from gti_cli.prompts.examples import Example

BATCH = 64  # examples; without autograd, activations of one layer at a time are alive


@torch.no_grad()
def collect(
    trained: GroundingModel,
    corpus: Corpus,
    place: int,
    rule: LogitRule,
    pad: int,
    device: torch.device,
    batch_size: int = BATCH,
) -> Positions:
    """Compute the positions that predict the answers' tokens at one place.

    Args:
        trained: The frozen model, with new rows attached that hold their values behind which to compute.
        corpus: The examples. Answers that are too short for the place have no position.
        place: Number of the token in its answer, from 0.
        rule: What the model does to its head's output.
        pad: Token id that fills rows up.
        device: Where to keep the hidden states.
        batch_size: Number of examples to compute together.

    Returns:
        The positions, examples of similar length side by side, in the model's number format.
    """
    numbers = [n for n in range(len(corpus.examples)) if len(corpus.examples[n].answer) > place]
    head, ids = trained.rows.head, trained.rows.ids
    number_of = torch.full((len(head.weight),), -1, device=ids.device)
    number_of[ids] = torch.arange(len(ids), device=ids.device)
    parts = []
    mode = trained.training
    trained.eval()
    for group in _batches(corpus, numbers, place, pad, batch_size):
        on_device = {name: value.to(ids.device) for name, value in group.items()}
        states = trained.states(on_device)
        tokens = on_device["targets"]
        targets = number_of[tokens]
        bias = 0.0 if head.bias is None else head.bias[tokens]
        # The predicted tokens' own logits, by one row for each position instead of the whole head.
        own = widen(rule, (states * head.weight[tokens]).sum(1) + bias).double()
        old = old_log_sum_exp(states, head.weight, head.bias, ids, rule)
        numbers_kept = (old, targets, torch.where(targets >= 0, 0.0, own))
        parts.append(Positions(states.to(device), *(part.to(device) for part in numbers_kept)))
    trained.train(mode)
    if not parts:
        nothing = torch.zeros(0, dtype=torch.float64, device=device)
        return Positions(head.weight[:0].to(device), nothing, nothing.long(), nothing)
    return join(parts)


def _batches(corpus: Corpus, numbers: Sequence[int], place: int, pad: int, batch_size: int) -> Iterator[GroupTensors]:
    """Examples that end at a place, shortest first, with the one position of each that predicts its last token."""
    lengths = corpus.computed_lengths()
    in_order = sorted(numbers, key=lambda number: (lengths[number], number))
    for first in range(0, len(in_order), batch_size):
        ended = _ended(corpus, in_order[first : first + batch_size], place)
        for group in Collator(ended, pad)(range(len(ended.examples)))["groups"]:
            yield _last_positions(group)


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


def _last_positions(group: GroupTensors) -> GroupTensors:
    """A group of B examples with only the last position of each predicted; it lies in the target span."""
    lengths = group["span_mask"].sum(1)
    rows = torch.arange(len(lengths))
    # Every example's span predicts its last token, so the counts in the span end where examples do.
    width = group["span"].shape[1]
    last = rows * width + lengths - 1
    found = torch.isin(group["predict_in_span"], last)
    span_targets = group["targets"][len(group["predict_in_context"]) :]
    return {
        **group,
        "predict_in_context": group["predict_in_context"][:0],
        "predict_in_span": group["predict_in_span"][found],
        "targets": span_targets[found],
    }
