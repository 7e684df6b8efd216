"""The training of ``ground``: model, new rows, Trainer, and what is measured before and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gti_cli import tables
from gti_cli.grounding.batches import Collator, Corpus, cut_examples
from gti_cli.grounding.objective import GroundingModel, has_plain_cache
from gti_cli.grounding.options import DIRECTION_NAMES, Job
from gti_cli.grounding.pairs import hold_out, make_pairs
from gti_cli.grounding.retrieval import retrieval, sample
from gti_cli.grounding.rows import NewRows
from gti_cli.grounding.trainer import GroundTrainer, mean_loss, trajectory
from gti_cli.prompts.pairs import DIRECTIONS, FORMS, TEXT_FORM, Pair, encode_pairs
from gti_cli.training.checkpoints import load_model, load_tokenizer, save_checkpoint
from gti_cli.training.packing import BatchPlan
from gti_cli.vocabulary.tokens import check_tokenizer
from gti_cli.workspace import StageRun

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TRAJECTORY = "trajectory.parquet"  # in the checkpoint's folder: step, loss, effective_rank
_FORMS = (*FORMS, TEXT_FORM)
_LOSSES = {DIRECTIONS[0]: "loss_to_tokens", DIRECTIONS[1]: "loss_to_text"}


def train_and_save(job: Job, run: StageRun, folder: Path) -> None:
    """Train, write the checkpoint into ``folder`` and report counts and metrics to ``run``."""
    from gti_cli.training.precision import describe, seed_everything

    run.device = describe(job.device)
    seed_everything(job.seed)
    path = job.checkpoint.path
    tokenizer = load_tokenizer(path)
    check_tokenizer(tokenizer, job.new_tokens)
    pairs, counts = make_pairs(job.texts, tokenizer, job.options.max_text_tokens)
    train, held = hold_out(pairs, job.options.held_out, job.seed)
    run.counts.update(counts, train_pairs=len(train), held_out_pairs=len(held))
    model = load_model(path, job.device, job.dtype)
    rows = NewRows(model, torch.tensor(job.new_tokens.ids))
    before = _parameters(rows)
    with rows.attached():
        history = _train(job, run, model, rows, tokenizer, train, held)
    _geometry(run, before, _parameters(rows))
    run.details["saved_dtype"] = _save(job, rows, tokenizer, folder)
    tables.write(folder / TRAJECTORY, trajectory(history))


def _corpus(job: Job, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> Corpus:
    """All pairs in the wanted directions; an example's group is its direction."""
    examples, kinds, groups = [], [], []
    for direction in DIRECTION_NAMES[job.options.directions]:
        number = DIRECTIONS.index(direction)
        examples += encode_pairs(tokenizer, pairs, direction, job.templates)
        kinds += [number * len(_FORMS) + _FORMS.index(pair.form) for pair in pairs]
        groups += [number] * len(pairs)
    new = set(job.new_tokens.ids.tolist())
    corpus = cut_examples(examples, kinds, groups, new)
    return (
        corpus if has_plain_cache(model, corpus.columns()) else cut_examples(examples, kinds, groups, new, whole=True)
    )


def _train(
    job: Job,
    run: StageRun,
    model: PreTrainedModel,
    rows: NewRows,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Pair],
    held: Sequence[Pair],
) -> list[dict[str, Any]]:
    """Train and measure; returns the Trainer's log."""
    from gti_cli.training.arguments import last_checkpoint, training_arguments
    from gti_cli.training.optimizer import adamw
    from gti_cli.training.progress import show_progress

    options, pad = job.options, int(tokenizer.pad_token_id)
    corpus = _corpus(job, model, tokenizer, train)
    lengths = corpus.text_lengths()
    plan = BatchPlan(
        lengths,
        [1] * len(lengths),
        size=options.batch_size,
        epochs=options.epochs,
        max_steps=options.max_steps,
        seed=job.seed,
    )
    trained = GroundingModel(model, rows, corpus.heads)
    unseen = _corpus(job, model, tokenizer, held) if held else None
    _held_out(job, run, model, rows, unseen, pad, "_before")
    _search(job, run, model, tokenizer, held, "_before")
    logging = 1 if len(plan) < 200 else 10
    arguments = training_arguments(
        run.scratch,
        epochs=1,
        max_steps=len(plan),
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=job.seed,
        # Saving in step with logging makes the logged losses of a resumed run those of an unbroken one.
        save_steps=max(len(plan) // 10 // logging, 1) * logging,
        logging_steps=logging,
        use_cpu=job.device.type == "cpu",
        max_grad_norm=0.0,  # Algorithm 1 does not clip
    )
    trainer = GroundTrainer(trained, arguments, Collator(corpus, pad), plan, adamw(trained, options.learning_rate))
    show_progress(trainer, "Grounding")
    done = last_checkpoint(run.scratch) if run.resuming else None
    trainer.train(resume_from_checkpoint=done)
    _report(run, trainer, plan, corpus, int(done.rpartition("-")[2]) if done else 0)
    _held_out(job, run, model, rows, unseen, pad, "")
    _search(job, run, model, tokenizer, held, "")
    return trainer.state.log_history


def _held_out(
    job: Job, run: StageRun, model: PreTrainedModel, rows: NewRows, corpus: Corpus | None, pad: int, suffix: str
) -> None:
    """Loss on the held-out pairs, for each direction."""
    if corpus is None:
        return
    measured = GroundingModel(model, rows, corpus.heads)
    for direction in DIRECTION_NAMES[job.options.directions]:
        places = [n for n, group in enumerate(corpus.groups) if DIRECTIONS[group] == direction]
        loss = mean_loss(measured, Collator(corpus, pad), places, job.device)
        run.metrics[_LOSSES[direction] + suffix] = loss


def _search(
    job: Job,
    run: StageRun,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    held: Sequence[Pair],
    suffix: str,
) -> None:
    """Constrained retrieval of held-out texts' items, where there are items and that direction is trained."""
    known = {} if job.catalogue is None else dict.fromkeys(job.catalogue.tokens)
    asked = sample([pair for pair in held if pair.tokens in known], job.options.retrieval_sample, job.seed)
    if job.catalogue is None or not asked or DIRECTIONS[0] not in DIRECTION_NAMES[job.options.directions]:
        return
    found = retrieval(model, tokenizer, job.catalogue, asked, job.templates)
    run.counts["retrieval_pairs"] = len(asked)
    run.metrics.update({name if "chance" in name else name + suffix: value for name, value in found.items()})


def _report(run: StageRun, trainer: GroundTrainer, plan: BatchPlan, corpus: Corpus, first_step: int) -> None:
    """Losses and counts of the whole run; rates of what was run now, from ``first_step`` on."""
    history = trainer.state.log_history
    losses = [entry["loss"] for entry in history if "loss" in entry]
    last = losses[-max(len(losses) // 10, 1) :]
    run.metrics["train_loss"] = sum(last) / len(last)
    run.metrics["epochs"] = plan.epochs
    run.counts.update(steps=len(plan), examples_seen=sum(len(batch) for batch in plan.steps))
    seconds = next((entry["train_runtime"] for entry in reversed(history) if "train_runtime" in entry), 0.0)
    mine = [n for batch in plan.steps[first_step:] for n in batch.tolist()]
    if seconds and mine:
        run.measured["train_seconds"] = seconds
        run.measured["examples_per_second"] = len(mine) / seconds
        run.measured["tokens_per_second"] = sum(len(corpus.examples[n]) for n in mine) / seconds


def _parameters(rows: NewRows) -> dict[str, Any]:
    found = {"": rows.embedding, "output_": rows.output}
    return {name: p.detach().cpu().numpy().copy() for name, p in found.items() if p is not None}


def _geometry(run: StageRun, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Effective rank before and after, and how far a coordinate went (root mean square)."""
    import numpy as np

    from gti_cli.geometry.spectrum import effective_rank

    for name, rows in after.items():
        run.metrics[f"{name}effective_rank_before"] = effective_rank(before[name])
        run.metrics[f"{name}effective_rank"] = effective_rank(rows)
        run.metrics[f"{name}rows_moved"] = float(np.sqrt(np.mean((rows - before[name]) ** 2)))


def _save(job: Job, rows: NewRows, tokenizer: PreTrainedTokenizerBase, folder: Path) -> str:
    """Write the checkpoint as it came, with the new rows in their places: no other bit differs. Returns its format."""
    from transformers import AutoConfig

    saved = AutoConfig.from_pretrained(job.checkpoint.path).dtype or torch.float32
    model = load_model(job.checkpoint.path, torch.device("cpu"), saved)
    rows.write_into(model)
    save_checkpoint(folder, model, tokenizer, job.new_tokens)
    return str(saved).removeprefix("torch.")
