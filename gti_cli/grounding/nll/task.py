"""The objective over pairs as a `GroundingTask`: what trains, its batches, and what is measured on held-out pairs.

Called by `train`. Pairs become examples in `nll.build_corpus`. The counterpart for phrases is `distil.task`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gti_cli import console
from gti_cli.errors import InputError
from gti_cli.grounding.held_out import hold_out
from gti_cli.grounding.job import GroundingJob, GroundingTask
from gti_cli.grounding.nll.batches import Collator
from gti_cli.grounding.nll.build_corpus import build_corpus
from gti_cli.grounding.nll.measures import pair_measures
from gti_cli.grounding.nll.objective import GroundingModel
from gti_cli.grounding.read_pairs import PairsTable, count_untaught, keep_apart, make_pairs, tokens_of_pairs
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.pair_prompts import Pair
from gti_cli.training.batches.stored_examples import how_kept
from gti_cli.workspace import StageRun

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from gti_cli.training.lora import Adapters


TRAIN_FILE = "train-pairs.arrow"  # in the work folder, if the encoded pairs are too many for the memory


@dataclass(frozen=True)
class SplitPairs:
    """The pairs of a run.

    Attributes:
        train: Pairs to train on.
        held_out: Pairs to measure on.
    """

    train: Sequence[Pair]
    held_out: Sequence[Pair]


def split_pairs(job: GroundingJob, run: StageRun, tokenizer: PreTrainedTokenizerBase) -> SplitPairs:
    """Make the pairs of a run and hold some of them out.

    Args:
        job: The run, with the table of pairs.
        run: Receives the counts.
        tokenizer: Counts the tokens of texts.

    Returns:
        The pairs.

    Raises:
        InputError: When early stopping needs held-out pairs and there are too few pairs.
    """
    assert isinstance(job.table, PairsTable)
    options, names = job.options, job.new_tokens.names
    pairs, counts = make_pairs(job.table, tokenizer, options.max_text_tokens)
    pairs, spaced = keep_apart(pairs, tokenizer, names)
    if spaced:
        counts["pairs_with_spaces"] = spaced
        console.note(f"{spaced:,} pairs have new words side by side: they are written with a space between them")
    tokens = tokens_of_pairs(pairs, names)
    train, held_out = hold_out(pairs, options.held_out, job.seed, tokens)
    run.counts.update(counts, train_pairs=len(train), held_out_pairs=len(held_out))
    count_untaught(run, job.trained_tokens.names, frozenset().union(*tokens))
    if options.patience is not None and not held_out:
        raise InputError(
            "--patience needs held-out pairs, but there are too few pairs to hold any out",
            remedy="give several texts for the same tokens, or leave --patience out",
        )
    if options.held_out and not held_out:
        console.warn(
            "no pair is held out, because each has a token that stands in no other pair: nothing is measured on unseen "
            "pairs. More texts for the same tokens would change that"
        )
    return SplitPairs(train, held_out)


def nll_task(
    job: GroundingJob,
    run: StageRun,
    model: PreTrainedModel,
    rows: NewRows,
    adapters: Adapters | None,
    tokenizer: PreTrainedTokenizerBase,
    pairs: SplitPairs,
) -> GroundingTask:
    """Gather what the training over pairs needs.

    Args:
        job: The run.
        run: Receives counts.
        model: The frozen model with ``rows`` attached.
        rows: The new rows.
        adapters: Adapters inside ``model``, which train beside the rows (None: there are none).
        tokenizer: The model's tokenizer.
        pairs: Pairs to train and to measure on.

    Returns:
        The module that trains, its batches and its measurements.
    """
    corpus = build_corpus(job, model, rows if adapters is None else None, tokenizer, pairs.train, run.work / TRAIN_FILE)
    run.measured["examples_kept_in"] = how_kept(corpus.examples)
    if adapters is None and not any(corpus.span_starts):
        console.note(
            f"{type(model).__name__} cannot continue from a stored prefix: "
            "every example is computed in full, which takes longer"
        )
    return GroundingTask(
        GroundingModel(model, rows, corpus.prefixes, adapters),
        Collator(corpus, int(tokenizer.pad_token_id), lockstep=job.sharding is not None),
        pair_measures(job, run, model, rows, tokenizer, pairs.held_out, adapters),
        constant=frozenset({"retrieval_chance@1", "retrieval_chance@10"}),
    )
