"""Pairs as examples: tokenised in the directions that are trained, and cut where the gradient begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gti_cli.checkpoints.limits import check_positions
from gti_cli.grounding.job import DIRECTION_NAMES, Job
from gti_cli.grounding.nll.batches import Corpus, cut_examples
from gti_cli.grounding.nll.objective import has_plain_cache
from gti_cli.grounding.nll.trial import computes_cut
from gti_cli.grounding.rows import NewRows
from gti_cli.prompts.pairs import DIRECTIONS, FORMS, TEXT_FORM, Pair, encode_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_FORMS = (*FORMS, TEXT_FORM)


def corpus_of(
    job: Job,
    model: PreTrainedModel,
    rows: NewRows | None,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
) -> Corpus:
    """All pairs in the wanted directions; an example's group is its direction.

    Cut at the first new token, but not where the model does not allow it.

    Args:
        rows: attached to ``model``; None: more than the new rows trains, so every position needs a gradient and
            nothing is cut.

    Raises:
        InputError: an example is longer than the positions of the model reach.
    """
    examples, kinds, groups = [], [], []
    for direction in DIRECTION_NAMES[job.options.directions]:
        number = DIRECTIONS.index(direction)
        examples += encode_pairs(tokenizer, pairs, direction, job.templates)
        kinds += [number * len(_FORMS) + _FORMS.index(pair.form) for pair in pairs]
        groups += [number] * len(pairs)
    longest = max(map(len, examples))
    check_positions(model.config, longest, job.checkpoint.path, remedy="use a smaller --max-text-tokens")
    new, pad = set(job.new_tokens.ids.tolist()), int(tokenizer.pad_token_id)
    uncut = cut_examples(examples, kinds, groups, new, whole=True)
    if rows is None:
        return uncut
    cut = cut_examples(examples, kinds, groups, new)
    allowed = has_plain_cache(model, cut.columns()) and computes_cut(model, rows, cut, uncut, pad)
    return cut if allowed else uncut
