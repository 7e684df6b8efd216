"""Pairs as examples: tokenised in the directions that are trained, and cut where the gradient begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gti_cli.grounding.batches import Corpus, cut_examples
from gti_cli.grounding.job import DIRECTION_NAMES, Job
from gti_cli.grounding.objective import has_plain_cache
from gti_cli.prompts.pairs import DIRECTIONS, FORMS, TEXT_FORM, Pair, encode_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_FORMS = (*FORMS, TEXT_FORM)


def corpus_of(
    job: Job, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], *, whole: bool = False
) -> Corpus:
    """All pairs in the wanted directions; an example's group is its direction.

    Cut at the first new token, but not where the model's cache does not allow it, and not if ``whole`` (more than the
    new rows trains, so that every position needs a gradient).
    """
    examples, kinds, groups = [], [], []
    for direction in DIRECTION_NAMES[job.options.directions]:
        number = DIRECTIONS.index(direction)
        examples += encode_pairs(tokenizer, pairs, direction, job.templates)
        kinds += [number * len(_FORMS) + _FORMS.index(pair.form) for pair in pairs]
        groups += [number] * len(pairs)
    new = set(job.new_tokens.ids.tolist())
    corpus = cut_examples(examples, kinds, groups, new, whole=whole)
    if not whole and not has_plain_cache(model, corpus.columns()):
        return cut_examples(examples, kinds, groups, new, whole=True)
    return corpus
