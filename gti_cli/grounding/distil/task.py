"""Distillation as a `GroundingTask`: what trains, its batches, and what is measured on held-out contexts.

Called by `train`. The counterpart for pairs is `nll.task`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import torch

from gti_cli import console, tables
from gti_cli.checkpoints.limits import check_positions
from gti_cli.errors import InputError
from gti_cli.grounding.distil.batches import DistilCollator, DistilCorpus, encode_uses
from gti_cli.grounding.distil.contexts import Phrases, Use, count_uses, cut_phrases, uses_of
from gti_cli.grounding.distil.measures import PHRASE_LOSS, DistilMeasures
from gti_cli.grounding.distil.objective import DistilModel, check_layer
from gti_cli.grounding.distil.old_tokenization import OldTokenization
from gti_cli.grounding.distil.snippets import SNIPPET_TOKENS, Snippets, sample_snippets
from gti_cli.grounding.held_out import BATCH, hold_out
from gti_cli.grounding.job import GroundingJob, GroundingTask
from gti_cli.grounding.read_pairs import count_untaught, tokens_of_pairs
from gti_cli.grounding.trainable_rows import NewRows
from gti_cli.prompts.text_as_data import encode_texts, note_naming
from gti_cli.training.batches.stored_examples import comfortable_bytes
from gti_cli.workspace import StageRun, processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CONTEXTS = "contexts.parquet"  # in the checkpoint's folder: text, tokens, before, behind, source, held_out
_SNIPPETS = "snippets.parquet"  # in the scratch folder: sampled snippets outlive an interruption


def distil_task(
    job: GroundingJob, run: StageRun, model: PreTrainedModel, rows: NewRows, tokenizer: PreTrainedTokenizerBase
) -> GroundingTask:
    """Gather what a distillation needs.

    A share of the contexts is held out, but never the only context of its tokens, because nothing else would teach
    them.

    Args:
        job: The run, with the phrases.
        run: Receives counts.
        model: The frozen model with ``rows`` attached.
        rows: The new rows.
        tokenizer: The model's tokenizer.

    Returns:
        The module that trains, its batches, its measurements, and a table of the contexts.

    Raises:
        InputError: When the model lacks the layer, a context is too long for it, tokens have no usable context, or
            early stopping needs held-out contexts and there are none.
    """
    assert isinstance(job.table, Phrases)
    options = job.options
    check_layer(model, options.distil_layer)
    old = OldTokenization(tokenizer, job.new_tokens.names)
    phrases, counts = cut_phrases(job.table, old, tokenizer, options.max_text_tokens)
    counts["texts_naming_tokens"] = _count_naming(tokenizer, phrases)
    snippets, empty = _snippets(job, run, model, tokenizer, old, phrases)
    all_uses = uses_of(phrases, snippets)
    uses, examples = encode_uses(tokenizer, old, all_uses, set(job.new_tokens.ids.tolist()))
    longest = max(len(ids) for example in examples for ids in (example.teacher, example.student))
    check_positions(model.config, longest, job.checkpoint.path, remedy="use shorter contexts or --max-text-tokens")
    several = max(Counter(use.item for use in uses).values()) > 1
    train, held_out = hold_out(uses, options.held_out if several else 0.0, job.seed)
    run.counts.update(counts, **count_uses(uses), contexts_unusable=len(all_uses) - len(uses))
    taught = tokens_of_pairs(uses, job.new_tokens.names)
    count_untaught(run, job.new_tokens.names, frozenset().union(*taught))
    run.counts.update(train_contexts=len(train), held_out_contexts=len(held_out), snippets_empty=empty)
    if options.distil_snippets:
        run.counts["snippet_tokens"] = SNIPPET_TOKENS
    if options.patience is not None and not held_out:
        raise InputError(
            "every phrase has one context only, so there is no held-out loss that --patience could watch",
            remedy="give more contexts, or --distil-snippets",
        )
    if options.held_out and not held_out:
        console.warn("every phrase has one context only, so none is held out and nothing is measured on unseen text")
    example_of = dict(zip(uses, examples, strict=True))
    pad = int(tokenizer.pad_token_id)
    trained = DistilModel(model, rows, layer=options.distil_layer, nll_weight=options.distil_nll_weight)
    measures = DistilMeasures(job, trained, DistilCollator(DistilCorpus([example_of[use] for use in held_out]), pad))
    run.counts["held_out_examples"] = measures.examples
    collator = DistilCollator(DistilCorpus([example_of[use] for use in train]), pad)
    steps = options.max_steps
    if (options.passes if steps is None else steps * options.batch_size / len(train)) > 1:
        collator.teacher_states = keep_teacher_states(trained, collator, job.device, comfortable_bytes())
    run.measured["teacher_states_kept"] = collator.teacher_states is not None
    return GroundingTask(
        trained,
        collator,
        measures,
        {CONTEXTS: _columns(uses, set(held_out))},
        frozenset({PHRASE_LOSS}),
    )


def keep_teacher_states(
    model: DistilModel, collator: DistilCollator, device: torch.device, most_bytes: float
) -> list[torch.Tensor] | None:
    """Compute the teacher's states of all examples once, for a training that sees examples several times.

    The batches are the same in every process and in every attempt, so a resumed run has the same numbers.

    Args:
        model: The module that trains, with its rows attached.
        collator: Makes batches of the examples.
        device: Where the model is.
        most_bytes: Most memory that the states may take.

    Returns:
        For each example the states (m + 1, d) float32 on the CPU; None where they would take more memory.
    """
    examples = collator.corpus.examples
    order = sorted(range(len(examples)), key=lambda n: len(examples[n].teacher))
    states: list[torch.Tensor] = [torch.empty(0)] * len(examples)
    positions = sum(example.shared + 1 for example in examples)
    with console.progress("Reading phrases", len(order), "contexts") as advance:
        for start in range(0, len(order), BATCH):
            numbers = order[start : start + BATCH]
            batch = {name: value.to(device) for name, value in collator(numbers)["batch"].items()}
            computed = model.teacher_states(batch).cpu()
            if 4 * computed.shape[1] * positions > most_bytes:
                return None
            own_states: Sequence[torch.Tensor] = torch.split(computed, [examples[n].shared + 1 for n in numbers])
            for n, own in zip(numbers, own_states, strict=True):
                states[n] = own.clone()
            advance(len(numbers))
    return states


def _count_naming(tokenizer: PreTrainedTokenizerBase, phrases: Phrases) -> int:
    """Count the texts and contexts that hold the name of a token, and say it."""
    texts = [*phrases.texts, *filter(None, phrases.contexts)]
    naming = encode_texts(tokenizer, texts)[1]
    note_naming(naming, len(texts))
    return naming


def _snippets(
    job: GroundingJob,
    run: StageRun,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    old: OldTokenization,
    phrases: Phrases,
) -> tuple[Snippets, int]:
    """Sampled contexts of each different phrase, and how many were left out because they are empty.

    A resumed run reads those of the interrupted one, because on a GPU the same seed need not draw the same text twice.
    """
    count = job.options.distil_snippets
    if not count:
        return {}, 0
    stored = run.scratch / _SNIPPETS
    if not (run.resuming and stored.is_file()):
        snippets = sample_snippets(model, tokenizer, old, phrases, count, job.seed)
        rows = [(*phrase, *snippet) for phrase, of_phrase in snippets.items() for snippet in of_phrase]
        names = ("text", "tokens", "before", "behind")
        columns = {name: [row[n] for row in rows] for n, name in enumerate(names)}
        if processes.rank():
            return _without_empty(columns)  # the first process writes the file for all
        tables.write(stored, columns)
    return _without_empty(tables.read(stored).to_pydict())


def _without_empty(columns: dict[str, list[str]]) -> tuple[Snippets, int]:
    """The snippets with text after the phrase, and the number of the others."""
    snippets: Snippets = {}
    empty = 0
    for text, tokens, before, behind in zip(*columns.values(), strict=True):
        if behind.strip():
            snippets.setdefault((text, tokens), []).append((before, behind))
        else:
            empty += 1
    return snippets, empty


def _columns(uses: Sequence[Use], held_out: Collection[Use]) -> dict[str, list[Any]]:
    names = ("text", "tokens", "before", "behind", "source")
    columns: dict[str, list[Any]] = {name: [getattr(use, name) for use in uses] for name in names}
    return {**columns, "held_out": [use in held_out for use in uses]}
