"""A trial: whether a model computes the same for divided examples as for whole ones.

In a batch of divided examples, padding stands between template prefix, context and target span. Rotary and learned
position embeddings get position numbers that skip it. Attention that counts columns instead (ALiBi, a local window)
does not, and no list of such models can be complete. So `nll.build_corpus` lets the model compute a few examples both
ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from gti_cli.grounding.nll.batches import Collator
from gti_cli.grounding.nll.corpus import Corpus
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.training.batches.stored_examples import example_lengths

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.no_grad()
def computes_divided(model: PreTrainedModel, rows: NewRows, divided: Corpus, whole: Corpus, pad: int) -> bool:
    """Try the examples with the longest and shortest parts: divided and in one batch, against whole and alone.

    Args:
        model: A causal LM with ``rows`` attached, in evaluation mode.
        rows: Its new rows.
        divided: The examples, divided.
        whole: The same examples, not divided.
        pad: Token id that fills rows up.

    Returns:
        Whether the hidden states (or logits) that predict an answer agree, up to the rounding of the model's number
        format, at half of each example's positions or more. False also where the model raises an error in the trial.
    """
    divided_model, whole_model = (GroundingModel(model, rows, corpus.prefixes).eval() for corpus in (divided, whole))
    # In bfloat16 a deep model's median position differs by 2 % and a few positions by 14 %. Wrongly counted columns
    # change every position behind the padding by more than 10 %. Hence the median, and a limit between 2 % and 10 %.
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.07
    try:
        for numbers in _extremes(divided):
            together = _states(divided_model, divided, numbers, pad)[_order(divided, numbers)]
            alone = [_states(whole_model, whole, [number], pad) for number in numbers]
            for mine, expected in zip(torch.split(together, [len(part) for part in alone]), alone, strict=True):
                error = (mine - expected).pow(2).mean(dim=1).sqrt() / expected.std(dim=1)
                if not error.sort().values[len(error) // 2] <= tolerance:  # so written, NaN fails too
                    return False
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError):
        return False
    return True


def _extremes(corpus: Corpus) -> list[list[int]]:
    """For each group: the examples with the longest and the shortest prefix, context and target span."""
    starts, groups = np.asarray(corpus.span_starts), np.asarray(corpus.groups)
    prefix = np.asarray([len(prefix) for prefix in corpus.prefixes])[corpus.templates]
    parts = (prefix, starts - prefix, np.asarray(example_lengths(corpus.examples)) - starts)
    batches = []
    for group in np.unique(groups):
        numbers = np.flatnonzero(groups == group)
        ends = [numbers[end(part[numbers])] for part in parts for end in (np.argmin, np.argmax)]
        batches.append(np.unique(ends).tolist())
    return batches


def _states(trained: GroundingModel, corpus: Corpus, numbers: list[int], pad: int) -> torch.Tensor:
    """(m, d) float32: what predicts the answers of these examples of one group, in the order of its collator."""
    (group,) = Collator(corpus, pad)(numbers)["groups"]
    device = trained.rows.embedding.device
    return trained.states({name: value.to(device) for name, value in group.items()}).float()


def _order(corpus: Corpus, numbers: list[int]) -> list[int]:
    """Indices that sort a group's predictions by example: the collator puts all predictions in contexts first."""
    keys: list[tuple[bool, int, int]] = []  # (in the span, example, position), whose order is the collator's
    for row, example in enumerate(corpus.examples[n] for n in numbers):
        start = corpus.span_starts[numbers[row]]
        keys += [(n >= start, row, n) for n in range(len(example.prompt) - 1, len(example) - 1)]
    index_of = {key: n for n, key in enumerate(sorted(keys))}
    return [index_of[key] for key in keys]
