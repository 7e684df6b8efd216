"""Distillation as a task of ``ground``: contexts of the phrases, some held out, and what is measured on these."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gti_cli import console, tables
from gti_cli.checkpoints.limits import check_positions
from gti_cli.errors import InputError
from gti_cli.grounding.distil.batches import DistilCollator, DistilCorpus, encode_uses
from gti_cli.grounding.distil.contexts import Phrases, Use, count_uses, cut_phrases, uses_of
from gti_cli.grounding.distil.objective import DistilModel, check_layer
from gti_cli.grounding.distil.old_tokenization import OldTokenization
from gti_cli.grounding.distil.snippets import SNIPPET_TOKENS, Snippets, sample_snippets
from gti_cli.grounding.geometry import describe_all
from gti_cli.grounding.job import Job
from gti_cli.grounding.measures import matrices, total
from gti_cli.grounding.pairs import hold_out
from gti_cli.grounding.retrieval import sample
from gti_cli.grounding.rows import NewRows
from gti_cli.grounding.stopping import HELD_OUT_LOSS
from gti_cli.grounding.task import Task
from gti_cli.workspace import StageRun, processes

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CONTEXTS = "contexts.parquet"  # in the checkpoint's folder: text, tokens, before, behind, source, held_out
_SNIPPETS = "snippets.parquet"  # in the scratch folder: what was sampled outlives an interruption
_BATCH = 32
PHRASE_LOSS = "loss_following_phrase"


def distil_task(
    job: Job, run: StageRun, model: PreTrainedModel, rows: NewRows, tokenizer: PreTrainedTokenizerBase
) -> Task:
    """Contexts, examples and measures; counts go to ``run``.

    A share of the contexts is held out, but never the only one of its tokens: nothing else would teach them.
    """
    assert isinstance(job.texts, Phrases)
    options = job.options
    check_layer(model, options.distil_layer)
    old = OldTokenization(tokenizer, job.new_tokens.names)
    phrases, counts = cut_phrases(job.texts, old, tokenizer, options.max_text_tokens)
    snippets, empty = _snippets(job, run, model, tokenizer, old, phrases)
    wanted = uses_of(phrases, snippets)
    uses, examples = encode_uses(tokenizer, old, wanted, set(job.new_tokens.ids.tolist()))
    longest = max(len(ids) for example in examples for ids in (example.teacher, example.student))
    check_positions(model.config, longest, job.checkpoint.path, remedy="use shorter contexts or --max-text-tokens")
    several = max(Counter(use.item for use in uses).values()) > 1
    train, held = hold_out(uses, options.held_out if several else 0.0, job.seed)
    run.counts.update(counts, **count_uses(uses), contexts_unusable=len(wanted) - len(uses))
    run.counts.update(train_contexts=len(train), held_out_contexts=len(held), snippets_empty=empty)
    if options.distil_snippets:
        run.counts["snippet_tokens"] = SNIPPET_TOKENS
    if options.patience is not None and not held:
        raise InputError(
            "every phrase has one context only, so there is no held-out loss that --patience could watch",
            remedy="give more contexts, or --distil-snippets",
        )
    if options.held_out and not held:
        console.warn("every phrase has one context only, so none is held out and nothing is measured on unseen text")
    of = dict(zip(uses, examples, strict=True))
    pad = int(tokenizer.pad_token_id)
    trained = DistilModel(model, rows, layer=options.distil_layer, nll_weight=options.distil_nll_weight)
    unseen = DistilCollator(DistilCorpus([of[use] for use in held]), pad)
    measures = DistilMeasures(job, trained, unseen)
    run.counts["held_out_examples"] = measures.examples
    return Task(
        trained,
        DistilCollator(DistilCorpus([of[use] for use in train]), pad),
        measures,
        {CONTEXTS: _columns(uses, set(held))},
        frozenset({PHRASE_LOSS}),
    )


def _snippets(
    job: Job,
    run: StageRun,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    old: OldTokenization,
    phrases: Phrases,
) -> tuple[Snippets, int]:
    """Sampled contexts of each different phrase, by (text, tokens), and how many came out empty.

    Those of an interrupted run are read again: on a GPU the same seed need not draw the same text twice.
    """
    count = job.options.distil_snippets
    if not count:
        return {}, 0
    kept = run.scratch / _SNIPPETS
    if not (run.resuming and kept.is_file()):
        found = sample_snippets(model, tokenizer, old, phrases, count, job.seed)
        rows = [(*key, *snippet) for key, snippets in found.items() for snippet in snippets]
        names = ("text", "tokens", "before", "behind")
        columns = {name: [row[n] for row in rows] for n, name in enumerate(names)}
        if processes.rank():
            return _useful(columns)
        tables.write(kept, columns)
    return _useful(tables.read(kept).to_pydict())


def _useful(columns: dict[str, list[str]]) -> tuple[Snippets, int]:
    found: Snippets = {}
    empty = 0
    for text, tokens, before, behind in zip(*columns.values(), strict=True):
        if behind.strip():
            found.setdefault((text, tokens), []).append((before, behind))
        else:
            empty += 1
    return found, empty


def _columns(uses: Sequence[Use], held: set[Use]) -> dict[str, list[Any]]:
    names = ("text", "tokens", "before", "behind", "source")
    return {**{name: [getattr(use, name) for use in uses] for name in names}, "held_out": [use in held for use in uses]}


class DistilMeasures:
    """How near the hidden states behind tokens come to those behind phrases, on held-out contexts.

    Attributes:
        examples: how many contexts are measured, at most ``held_out_sample``.
    """

    def __init__(self, job: Job, trained: DistilModel, collator: DistilCollator) -> None:
        self._job, self._trained, self._collator = job, trained, collator
        self._places = sample(range(len(collator.corpus.examples)), job.options.held_out_sample, job.seed)
        self.examples = len(self._places)

    def point(self) -> dict[str, float | None]:
        """`distance_report` on the held-out contexts, and the effective rank of the rows."""
        found: dict[str, float | None] = {}
        if self._places:
            found.update(self._report())
        found.update(
            describe_all(matrices(self._trained.rows), None, self._job.seed, self._job.new_tokens.codes_or_all())
        )
        return found

    def _report(self) -> dict[str, float]:
        in_step = self._job.sharding is not None
        return distance_report(self._trained, self._collator, self._places, self._job.device, in_step=in_step)

    def search(self) -> dict[str, float]:
        """Nothing: there is no catalogue in which to look for items."""
        return {}


def distance_report(
    model: DistilModel,
    collator: DistilCollator,
    places: Sequence[int],
    device: torch.device,
    size: int = _BATCH,
    *,
    in_step: bool = False,
) -> dict[str, float]:
    """Figures over the examples ``places``; several processes share the work (``in_step``: in equally many batches).

    Returns:
        ``held_out_loss``: the objective; ``hidden_mse``: mean squared error; ``hidden_distance``: its root over the
        root mean square of the phrases' states (0: equal); ``loss_following``: negative log-likelihood (nats per
        token) of what follows the token, and ``loss_following_phrase`` of the same text behind the phrase, which does
        not change; ``loss_token``: of the new tokens themselves, at their place.
    """
    import torch

    lengths = collator.corpus.text_lengths()
    order = sorted(places, key=lambda n: lengths[n])
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    sums = torch.zeros(len(DistilModel.SUMS), dtype=torch.float64)
    for batch in processes.share(batches, in_step=in_step):
        tensors = {name: value.to(device) for name, value in collator(batch)["batch"].items()}
        measured = model.measure(tensors).cpu()
        sums += measured if batch else 0.0
    of = dict(zip(DistilModel.SUMS, total(sums, device), strict=True))
    found = {
        HELD_OUT_LOSS: of["loss"] / of["positions"],
        "hidden_mse": of["error"] / of["positions"],
        "hidden_distance": math.sqrt(of["error"] / of["power"]),
        "loss_token": of["nll_tokens"] / of["tokens"],
    }
    if of["following"]:
        found["loss_following"] = of["nll_following"] / of["following"]
        found[PHRASE_LOSS] = of["nll_phrase"] / of["following"]
    return found
