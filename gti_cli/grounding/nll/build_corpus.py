"""Build the corpus of a grounding run: pairs become tokenised examples in the directions that train.

Comes after `nll.task`, which has the pairs. The prompts are tokenised by `gti_cli.prompts.pair_prompts.encode_pairs`,
and the examples divided by `nll.corpus.divide_examples`. `nll.batches` puts the result into batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gti_cli.checkpoints.limits import check_positions
from gti_cli.grounding.job import GroundingJob
from gti_cli.grounding.nll.corpus import Corpus, divide_examples
from gti_cli.grounding.nll.division_check import computes_divided
from gti_cli.grounding.nll.objective import has_plain_cache
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.pair_prompts import DIRECTIONS, FORMS, TEXT_FORM, Pair, encode_pairs
from gti_cli.training.batches.stored_examples import ORDINARY, example_lengths, in_parts, keep_examples

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_FORMS = (*FORMS, TEXT_FORM)


def build_corpus(
    job: GroundingJob,
    model: PreTrainedModel,
    rows: NewRows | None,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    file: Path,
) -> Corpus:
    """Tokenise all pairs in the job's directions, and divide them where ``model`` computes divided examples correctly.

    An example's template is its direction and form; its group is its direction.

    Args:
        job: The run, with directions and prompt templates.
        model: The model that will read the examples.
        rows: The new rows, attached to ``model``. None: more than the new rows trains, so every position needs a
            gradient and nothing is divided.
        tokenizer: The checkpoint's tokenizer.
        pairs: Pairs of text and tokens.
        file: Where the examples go if they are too many for the memory.

    Returns:
        The examples: all pairs in the first direction, then all pairs in the second.

    Raises:
        InputError: When an example is longer than the model's position range.
    """
    parts = (
        encode_pairs(tokenizer, part, direction, job.templates)
        for direction in job.directions
        for part in in_parts(pairs)
    )
    examples = keep_examples(parts, len(pairs) * len(job.directions), file, ORDINARY)
    templates: list[int] = []
    groups: list[int] = []
    for direction in job.directions:
        number = DIRECTIONS.index(direction)
        # One number for each template (a direction and a form), whose prefix the model computes once.
        templates += [number * len(_FORMS) + _FORMS.index(pair.form) for pair in pairs]
        groups += [number] * len(pairs)
    longest = max(example_lengths(examples))
    check_positions(model.config, longest, job.checkpoint.path, remedy="use a smaller --max-text-tokens")
    new_ids, pad = set(job.new_tokens.ids.tolist()), int(tokenizer.pad_token_id)
    whole = divide_examples(examples, templates, groups, new_ids, whole=True)
    if rows is None:
        return whole
    divided = divide_examples(examples, templates, groups, new_ids)
    # The trial is dear, so it comes only where the model's cache allows divided examples at all.
    supported = has_plain_cache(model, divided.columns()) and computes_divided(model, rows, divided, whole, pad)
    return divided if supported else whole
