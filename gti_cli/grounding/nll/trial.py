"""Whether a model computes the same for examples that are cut at their first new token as for whole ones.

Cut examples stand with gaps between head, middle and tail. Rotary and learned positions are told of them; attention
that counts columns (ALiBi, a local window) is not, and no list of such models is complete: so it is tried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gti_cli.grounding.nll.batches import Collator, Corpus
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.rows import NewRows

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.no_grad()
def computes_cut(model: PreTrainedModel, rows: NewRows, cut: Corpus, whole: Corpus, pad: int) -> bool:
    """Try examples of the most different cuts, together and cut against each alone and whole.

    Args:
        model: with ``rows`` attached, in evaluation mode. cut, whole: the same examples; ``whole`` has no cuts.

    Returns:
        whether the hidden states (or logits) that predict an answer are the same, up to the rounding of the model's
        number format, at half of an example's positions or more. A model that fails in the trial does not compute it.
    """
    both = [GroundingModel(model, rows, corpus.heads).eval() for corpus in (cut, whole)]
    # In bfloat16 a deep model's usual position is 2 % off, a few are 14 % off; columns counted wrongly move all that
    # stand behind a gap by more than 10 %.
    near = 1e-3 if model.dtype == torch.float32 else 0.07
    try:
        for places in _extremes(cut):
            together = _states(both[0], cut, places, pad)[_order(cut, places)]
            alone = [_states(both[1], whole, [place], pad) for place in places]
            mine_of = torch.split(together, [len(part) for part in alone])
            for mine, wanted in zip(mine_of, alone, strict=True):
                off = (mine - wanted).pow(2).mean(dim=1).sqrt() / wanted.std(dim=1)
                if not off.sort().values[len(off) // 2] <= near:  # not a number fails too
                    return False
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError):
        return False
    return True


def _extremes(corpus: Corpus) -> list[list[int]]:
    """For each group of examples: those with the longest and the shortest head, middle and tail."""
    found = []
    for group in sorted(set(corpus.groups)):
        places = [n for n, one in enumerate(corpus.groups) if one == group]
        head = {n: len(corpus.heads[corpus.kinds[n]]) for n in places}
        middle = {n: corpus.firsts[n] - head[n] for n in places}
        tail = {n: len(corpus.examples[n]) - corpus.firsts[n] for n in places}
        ends = [end(places, key=part.__getitem__) for part in (head, middle, tail) for end in (min, max)]
        found.append(sorted(set(ends)))
    return found


def _states(trained: GroundingModel, corpus: Corpus, places: list[int], pad: int) -> torch.Tensor:
    """(m, d) float32: what predicts the answers of these examples of one group, in the order of its collator."""
    (group,) = Collator(corpus, pad)(places)["groups"]
    device = trained.rows.embedding.device
    return trained.states({name: value.to(device) for name, value in group.items()}).float()


def _order(corpus: Corpus, places: list[int]) -> list[int]:
    """Where the answers of one example after the other stand in a group, which has those in the middles first."""
    keys: list[tuple[bool, int, int]] = []
    for row, example in enumerate(corpus.examples[place] for place in places):
        first = corpus.firsts[places[row]]
        keys += [(n >= first, row, n) for n in range(len(example.prompt) - 1, len(example) - 1)]
    place_of = {key: n for n, key in enumerate(sorted(keys))}
    return [place_of[key] for key in keys]
